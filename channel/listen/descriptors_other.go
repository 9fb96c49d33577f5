//go:build !unix

package listen

import "math"

// OwnLack tells whether an error says that this process has too few descriptors: not known here.
func OwnLack(error) bool { return false }

// Few is below how many descriptors a process that serves users should not go.
const Few = 4096

// Descriptors is how many files and connections this process may have open: not known here.
func Descriptors() int { return math.MaxInt32 }

// Raisable is what the system lets this user raise the limit of Descriptors to: not known here.
func Raisable() int { return math.MaxInt32 }
