package keys

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links a path may lead through, as in Linux.
const maxLinks = 40

// maxFile is more than any key, certificate or secret is long.
const maxFile = 1 << 20

// Open opens a regular file that only root and the running user can
// replace or change: code, or a list of certificates to trust. The rule is the
// one of sshd_config(5), StrictModes: the file and every folder above it belong
// to root or the running user, and neither group nor others may write to them.
// Symbolic links are followed and their folders checked, too.
//
// A folder that others may write to is let pass in one case that sshd refuses:
// it has the sticky bit, as /tmp has, so that what is in it can be moved or
// removed only by its own owner (unlink(2), EACCES), and that owner is checked.
//
// An error names the path that is wrong and the command that cures it. On
// systems without Unix owners and modes, nothing is checked.
func Open(path string) (*os.File, error) { return open(path, false) }

// Read reads what Open opens.
func Read(path string) ([]byte, error) { return read(path, false) }

// ReadPrivate reads a file as Read does, and one that others can read is an
// error, too: a private key, a token, a secret. The rule is ssh's for its keys,
// mode 0600 or less. As with PostgreSQL's ssl_key_file, the group may read a
// file of root (0640), so that a key that the system manages can be used by a
// server that does not run as root.
func ReadPrivate(path string) ([]byte, error) { return read(path, true) }

// State tells one content of files from the next, as far as their times and lengths do; one that
// can't be looked at has a state, too.
func State(paths ...string) (state string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil {
			state += err.Error()
		} else {
			state += fmt.Sprint(info.ModTime().UnixNano(), " ", info.Size(), " ")
		}
	}
	return state
}

// ReadSecret reads the secret in a private file. Its errors hold nothing of the
// file's content.
func ReadSecret(path string) (Secret, error) {
	text, err := ReadPrivate(path)
	if err == nil {
		var s Secret
		if s, err = Parse(string(text)); err == nil {
			return s, nil
		}
	}
	return Secret{}, explain(path, err)
}

// ReadSecrets reads a private file of one secret or, while it is changed, two, one a line: the new
// one and then the one of before. Empty lines and those that begin with # don't count.
func ReadSecrets(path string) ([]Secret, error) {
	text, err := ReadPrivate(path)
	if err == nil {
		var list []Secret
		if list, err = parseAll(string(text)); err == nil {
			return list, nil
		}
	}
	return nil, explain(path, err)
}

// explain names the file and the cure.
func explain(path string, err error) error {
	if _, slip := errors.AsType[*textError](err); slip {
		err = fmt.Errorf("%s: %w", path, err)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf(
			"%s does not exist: make it with `nodeserver secret new %s`, and copy it to each node that is to share it",
			path,
			path,
		)
	case errors.Is(err, ErrMade):
		return fmt.Errorf("%w; move it away, and make another with `nodeserver secret new %s`", err, path)
	}
	return err
}

// Replace writes a private file anew, whole or not at all: who reads it meanwhile gets one content
// or the other. Its owner and mode stay; of a symbolic link, the file it leads to is replaced.
func Replace(path string, content []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, sameOwner(f, info), f.Chmod(info.Mode().Perm()), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func read(path string, private bool) ([]byte, error) {
	f, err := open(path, private)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // was only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) > maxFile:
		return nil, fmt.Errorf("%s is larger than %d bytes: this is no key, certificate or secret", path, maxFile)
	}
	return b, nil
}

func open(path string, private bool) (*os.File, error) {
	seen, err := trace(path)
	if err != nil {
		return nil, err
	}
	if !seen.Mode().IsRegular() { // before it is opened: a pipe would wait for a writer
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(seen, info) {
		err = fmt.Errorf("%s was replaced while it was checked: try again", path)
	}
	if err == nil && private {
		err = unreadable(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// trace checks all that leads to the file, from the root down, and the file.
func trace(path string) (fs.FileInfo, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	volume := filepath.VolumeName(path)
	root := volume + string(filepath.Separator)
	at, rest, links := root, steps(path[len(volume):]), 0
	info, err := os.Lstat(at)
	for ; err == nil; info, err = os.Lstat(at) {
		if err := unchangeable(at, info); err != nil {
			return nil, err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(at)
			if links++; err == nil && links > maxLinks {
				err = fmt.Errorf("%s leads through more than %d symbolic links", path, maxLinks)
			}
			if err != nil {
				return nil, err
			}
			at = filepath.Dir(at)
			if filepath.IsAbs(target) {
				at = root
			}
			rest = append(steps(target), rest...)
		}
		if len(rest) == 0 {
			return info, nil
		}
		at, rest = filepath.Join(at, rest[0]), rest[1:] // ".." is safe to join: links are resolved by now
	}
	return nil, err
}

func steps(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == filepath.Separator })
}

// unchangeable: only root and the running user can change it. Access control
// lists count: where there is one, the group's bits are the most it grants.
func unchangeable(path string, info fs.FileInfo) error {
	owner, me, known := ownerOf(info)
	mode := info.Mode()
	switch {
	case !known:
		return nil
	case owner != 0 && owner != me:
		return fmt.Errorf(
			"%s belongs to the user %d, who can change it; this process runs as %d and trusts only that user and root: run `chown %d %s`",
			path,
			owner,
			me,
			me,
			path,
		)
	case mode&fs.ModeSymlink != 0, mode.Perm()&0o022 == 0, mode.IsDir() && mode&fs.ModeSticky != 0:
		return nil
	}
	return fmt.Errorf("%s can be changed by others (mode %04o): run `chmod go-w %s`", path, mode.Perm(), path)
}

// unreadable: no other user can read it.
func unreadable(path string, info fs.FileInfo) error {
	owner, me, known := ownerOf(info)
	forbidden := fs.FileMode(0o077)
	if owner == 0 && me != 0 {
		forbidden = 0o037
	}
	if mode := info.Mode().Perm(); known && mode&forbidden != 0 {
		return fmt.Errorf("%s can be read by others (mode %04o): run `chmod 600 %s`", path, mode, path)
	}
	return nil
}
