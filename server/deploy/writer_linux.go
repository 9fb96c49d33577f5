package deploy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openForWriting tells whether some process has the file open for writing: only without
// one the system gives a lease for reading (fcntl(2)). Not known of files of others, for who
// is not root, and on file systems without leases.
func openForWriting(name string) (open, known bool) {
	f, err := os.Open(name)
	if err != nil {
		return false, false
	}
	defer func() { _ = f.Close() }() // and with it the lease
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	switch {
	case err == nil:
		return false, true
	case errors.Is(err, unix.EAGAIN):
		return true, true
	}
	return false, false
}
