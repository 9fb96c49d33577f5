//go:build !unix

package listen

import "math"

// OwnLack tells whether an error says that this process has too few descriptors: not known here.
func OwnLack(error) bool { return false }

// Few is the least number of descriptors that a process which serves users should have.
const Few = 4096

// Descriptors is how many files and connections this process may have open: not known here.
func Descriptors() int { return math.MaxInt32 }

// Raisable is the limit up to which the system lets this user raise Descriptors: not known here.
func Raisable() int { return math.MaxInt32 }
