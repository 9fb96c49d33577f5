package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// store keeps the files of plugins by the hash of their content.
type store struct{ dir string }

var aHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

func openStore(dir string) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return store{}, fmt.Errorf("node.data_dir: %w", err)
	}
	return store{dir}, nil
}

func (s store) path(hash string) string { return filepath.Join(s.dir, hash+".so") }

// unnamed leaves the path of the file out of what is wrong with it: it means nothing to operators.
func (s store) unnamed(err error, hash string) string {
	return strings.ReplaceAll(err.Error(), s.path(hash), "the plugin")
}

func (s store) has(hash string) bool {
	_, err := os.Stat(s.path(hash))
	return err == nil
}

// maxFile is how long a plugin may be that is deployed on all nodes.
const maxFile = 1 << 30

// put keeps what comes out of r, and returns its hash.
func (s store) put(r io.Reader) (hash string, err error) {
	sum := sha256.New()
	err = replaceFile(s.dir, func(w io.Writer) error {
		n, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(r, maxFile+1))
		if err == nil && n > maxFile {
			err = fmt.Errorf("the file has more than %d bytes", maxFile)
		}
		return err
	}, func() string {
		hash = hex.EncodeToString(sum.Sum(nil))
		return s.path(hash)
	})
	return hash, err
}

// replaceFile writes a file of the folder so that after a crash either the old or the new content is
// there, whole. The name may depend on what was written.
func replaceFile(dir string, write func(io.Writer) error, name func() string) error {
	f, err := os.CreateTemp(dir, ".fresh-")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone if all went well
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name()); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// fetch gets the file with the hash from a member, unless it is here.
func (s store) fetch(ctx context.Context, p Peer, hash string) error {
	if s.has(hash) {
		return nil
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(p.Blob(ctx, hash, w)) }()
	got, err := s.put(r)
	_ = r.CloseWithError(errors.New("no longer wanted"))
	switch {
	case err != nil:
		return err
	case got != hash:
		_ = os.Remove(s.path(got)) // nobody asked for it
		return fmt.Errorf("%s sent another file than the one of hash %s", p.Name(), short(hash))
	}
	return nil
}

// youngest is how old a file must be to be removed: one that is not in the catalog may be on its way
// into it.
const youngest = time.Hour

// drop removes a file that is of no use.
func (s store) drop(hash string, list []Entry) {
	if !named(list)[hash] {
		_ = os.Remove(s.path(hash)) // prune tries again
	}
}

// named are the hashes of the builds in a catalog.
func named(list []Entry) map[string]bool {
	hashes := map[string]bool{}
	for _, e := range list {
		for _, b := range append([]Build{e.Build}, e.History...) {
			hashes[b.Hash] = true
		}
	}
	return hashes
}

// prune removes old files that no entry of the catalog names.
func (s store) prune(list []Entry) {
	keep := named(list)
	files, _ := os.ReadDir(s.dir) // what can't be read now is removed the next time
	for _, f := range files {
		info, err := f.Info()
		if err != nil || time.Since(info.ModTime()) < youngest {
			continue
		}
		if hash, ok := strings.CutSuffix(f.Name(), ".so"); ok && aHash.MatchString(hash) && !keep[hash] {
			_ = os.Remove(s.path(hash)) // same
		}
	}
}
