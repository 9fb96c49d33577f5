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

func (s store) has(hash string) bool {
	_, err := os.Stat(s.path(hash))
	return err == nil
}

// put keeps what comes out of r, and returns its hash.
func (s store) put(r io.Reader) (hash string, err error) {
	f, err := os.CreateTemp(s.dir, ".fresh-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone if all went well
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, sum), r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	hash = hex.EncodeToString(sum.Sum(nil))
	if err := os.Rename(f.Name(), s.path(hash)); err != nil {
		return "", err
	}
	return hash, syncFolder(s.dir)
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
