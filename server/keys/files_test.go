//go:build unix

package keys_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/nodeserver/nodeserver/server/keys"
)

// tree makes files and folders with modes, whatever the umask.
type tree struct {
	*testing.T
	dir string
}

func (t tree) folder(name string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.dir, name)
	if err := errors.Join(os.MkdirAll(path, 0o700), os.Chmod(path, mode)); err != nil {
		t.Fatal(err)
	}
	return path
}

func (t tree) file(name string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.dir, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(keys.New()+"\n"), 0o600), os.Chmod(path, mode))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (t tree) link(to, name string) string {
	t.Helper()
	path := filepath.Join(t.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(to, path)); err != nil {
		t.Fatal(err)
	}
	return path
}

// others gives what is at the paths to a user that is neither root nor us.
func (t tree) others(paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.Lchown(p, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	tt := tree{t, t.TempDir()}
	open := tt.folder("open", 0o777)
	team := tt.folder("team", 0o775)
	sticky := tt.folder("sticky", 0o777|fs.ModeSticky)
	pipe := filepath.Join(tt.dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, private, public string }{
		{"private", tt.file("a/b/private", 0o600), "", ""},
		{"read only", tt.file("a/b/ro", 0o400), "", ""},
		{"readable", tt.file("a/b/readable", 0o644), "PATH can be read by others (mode 0644): run `chmod 600 PATH`", ""},
		{"readable by the group", tt.file("a/b/group", 0o640), "PATH can be read by others (mode 0640): run `chmod 600 PATH`", ""},
		{
			"writable", tt.file("a/b/w", 0o602), "PATH can be changed by others (mode 0602): run `chmod go-w PATH`",
			"PATH can be changed by others (mode 0602): run `chmod go-w PATH`",
		},
		{
			"in an open folder", tt.file("open/in/side", 0o600), "",
			open + " can be changed by others (mode 0777): run `chmod go-w " + open + "`",
		},
		{"in a team's folder", tt.file("team/x", 0o600), "", team + " can be changed by others (mode 0775): run `chmod go-w " + team + "`"},
		{"in a sticky folder", tt.file("sticky/x", 0o600), "", ""},
		{"link to a good file", tt.link("../a/b/private", "links/good"), "", ""},
		{"link over a folder", filepath.Join(tt.link("../a", "links/dir"), "b", "private"), "", ""},
		{
			"link to an open folder", tt.link(filepath.Join(open, "in/side"), "links/open"), "",
			open + " can be changed by others (mode 0777): run `chmod go-w " + open + "`",
		},
		{
			"link in an open folder", tt.link(filepath.Join(tt.dir, "a/b/private"), "open/link"), "",
			open + " can be changed by others (mode 0777): run `chmod go-w " + open + "`",
		},
		{"link to itself", tt.link("loop", "loop"), "", "PATH leads through more than 40 symbolic links"},
		{"folder", sticky, "", "PATH is not a regular file"},
		{"pipe", pipe, "", "PATH is not a regular file"},
		{"missing", filepath.Join(tt.dir, "none"), "", "lstat PATH: no such file or directory"},
	} {
		if c.private == "" {
			c.private = c.public
		}
		_, private := keys.ReadPrivate(c.path)
		_, public := keys.Read(c.path)
		for i, got := range []error{private, public} {
			want := strings.ReplaceAll([]string{c.private, c.public}[i], "PATH", c.path)
			if (got == nil) != (want == "") || got != nil && got.Error() != want {
				t.Errorf("%s (private: %v): %v\nwant %s", c.name, i == 0, got, want)
			}
		}
	}
}

// Owners matter as much as modes: whoever owns a file or folder can change its
// mode. Only root can give files away, so only root can make such a case.
func TestFilesOfOthers(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 { // what can be tried without: a file of root is trusted by anybody
		if _, err := keys.Read("/etc/passwd"); err != nil {
			t.Error(err)
		}
		return
	}
	tt := tree{t, t.TempDir()}
	tt.folder("sticky", 0o777|fs.ModeSticky)
	file, inSticky, inFolder := tt.file("a/file", 0o600), tt.file("sticky/file", 0o600), tt.file("theirs/file", 0o600)
	link := tt.link(tt.file("a/good", 0o600), "sticky/link")
	folder := filepath.Dir(inFolder)
	tt.others(file, inSticky, folder, link)
	for _, c := range []struct{ path, culprit string }{{file, file}, {inSticky, inSticky}, {inFolder, folder}, {link, link}} {
		want := c.culprit + " belongs to the user 65534, who can change it; this process runs as 0 and trusts only " +
			"that user and root: run `chown 0 " + c.culprit + "`"
		if _, err := keys.Read(c.path); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	t.Parallel()
	tt := tree{t, t.TempDir()}
	good, missing := tt.file("good", 0o600), filepath.Join(tt.dir, "none")
	write := func(name, text string) string {
		path := tt.file(name, 0o600)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, err := keys.ReadSecret(good)
	if text, _ := os.ReadFile(good); err != nil || a.Text()+"\n" != string(text) {
		t.Errorf("a good secret: %v", err)
	}
	for path, want := range map[string]string{
		missing: "PATH does not exist: make it with `nodeserver secret new PATH`, " +
			"and copy it to each node that is to share it",
		write("old", strings.Repeat("a", 32)): `PATH: it was not made by "nodeserver secret new", and what ` +
			`people invent can be guessed; move it away, and make another with ` + "`nodeserver secret new PATH`",
		write("cut", a.Text()[:50]): "PATH: its checksum is wrong: it was mistyped or cut off; copy the file again",
		tt.file("open", 0o644):      "PATH can be read by others (mode 0644): run `chmod 600 PATH`",
		write("large", strings.Repeat("a", 2<<20)): "PATH is larger than " + strconv.Itoa(1<<20) + " bytes: this is " +
			"no key, certificate or secret",
	} {
		if _, err := keys.ReadSecret(path); err == nil || err.Error() != strings.ReplaceAll(want, "PATH", path) {
			t.Errorf("%v\nwant %s", err, strings.ReplaceAll(want, "PATH", path))
		}
	}
}
