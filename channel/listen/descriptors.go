//go:build unix

package listen

import (
	"math"
	"syscall"
)

// Descriptors is how many files and connections this process may have open. Go has
// raised the soft limit to the hard one when the process started (package os).
func Descriptors() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	return int(limit.Cur)
}
