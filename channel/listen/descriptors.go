//go:build unix

package listen

import (
	"errors"
	"math"
	"syscall"
)

// OwnLack tells whether an error of a dial or an accept says that this process, or this machine,
// has too few descriptors, ports or buffers: nothing about the other side.
func OwnLack(err error) bool {
	for _, lack := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL} {
		if errors.Is(err, lack) {
			return true
		}
	}
	return false
}

// Few is the least number of descriptors that a process which serves users should have.
const Few = 4096

// Descriptors is how many files and connections this process may have open. Go has raised the soft
// limit to the hard one when the process started (package os).
func Descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}

// Raisable is the limit up to which the system lets this user raise Descriptors.
func Raisable() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Max > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Max)
}
