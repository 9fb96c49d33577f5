//go:build unix

package keys

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerOf is the user a file belongs to, and the one this process runs as.
func ownerOf(info fs.FileInfo) (owner, me int, known bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(stat.Uid), os.Geteuid(), true
}

// sameOwner gives the file the owner and group of another.
func sameOwner(f *os.File, as fs.FileInfo) error {
	stat, ok := as.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return f.Chown(int(stat.Uid), int(stat.Gid))
}
