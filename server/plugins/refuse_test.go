package plugins_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/plugins"
)

// patch gives a plugin as another build would leave it: what Go recorded in it
// is changed in place, at equal length.
func patch(t *testing.T, content []byte, old, with string) []byte {
	t.Helper()
	if len(old) != len(with) || !bytes.Contains(content, []byte(old)) {
		t.Fatalf("%q can't be patched to %q", old, with)
	}
	return bytes.ReplaceAll(content, []byte(old), []byte(with))
}

// Every bad file is refused before it is mapped, by a text that says what to do.
func TestRefusedFiles(t *testing.T) {
	dir := writeApp(t, "refused", "hello")
	good, err := os.ReadFile(build(t, dir).File)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	const again = "rebuild it with this nodeserver's build DIR"
	misfit := func(line string) string { return "plugin FILE does not fit this node:\n  " + line }
	for name, c := range map[string]struct {
		content []byte
		want    string
	}{
		"empty":   {nil, "check plugin FILE: the file is empty: copy or build it again"},
		"cut off": {good[:len(good)/2], "check plugin FILE: not a plugin, or cut off ("},
		"text":    {[]byte("#!/bin/sh\n"), "check plugin FILE: not a plugin, or cut off ("},
		"executable": {exe, "check plugin FILE: a Go program (-buildmode=exe), not a plugin: build it with nodeserver " +
			"build DIR -o FILE.so"},
		"plain go build": {
			patch(t, good, "/plugin_main\n", "/plugin_ma1n\n"),
			"check plugin FILE: not built by nodeserver build, so a new revision could not be loaded beside it: " +
				"nodeserver build DIR -o FILE.so",
		},
		"other processor": {
			patch(t, good, "GOARCH=amd64", "GOARCH=amd65"),
			misfit("built with GOARCH=amd65, this node with GOARCH=amd64: " + again),
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "bad.so")
			if err := os.WriteFile(file, c.content, 0o600); err != nil {
				t.Fatal(err)
			}
			l := plugins.NewLoader()
			for range 2 { // the second time from memory
				_, err := l.Open(file)
				if err == nil {
					t.Fatal("opened")
				}
				got := strings.ReplaceAll(err.Error(), file, "FILE")
				if !strings.HasPrefix(got, c.want) || strings.HasSuffix(c.want, again) && got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

// A panic at the start is an error that is remembered: Go would wait forever
// for the second try.
func TestPanicInInit(t *testing.T) {
	dir := writeApp(t, "panics", "hello")
	write(t, filepath.Join(dir, "words", "init.go"), "package words\n\nfunc init() { panic(`no luck`) }\n")
	file := build(t, dir).File
	l := plugins.NewLoader()
	for range 2 {
		_, err := l.Open(file)
		if want := "open plugin " + file + ": its init or Webapp function panicked: no luck"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestBuildErrors(t *testing.T) {
	ok := writeApp(t, "fine", "hello")
	wrong := writeApp(t, "wrong", "hello")
	write(t, filepath.Join(wrong, "words", "words.go"), "package words\n\nconst Answer = nothing\n")
	lacking := filepath.Join(t.TempDir(), "lacking")
	write(t, filepath.Join(lacking, "go.mod"), "module example.org/lacking\n")
	write(t, filepath.Join(lacking, "a.go"), "package lacking\n")
	alone := filepath.Join(t.TempDir(), "alone")
	write(t, filepath.Join(alone, "a.go"), "package alone\n")
	newer := writeApp(t, "newer", "hello")
	write(t, filepath.Join(newer, "go.mod"), "module example.org/newer\n\ngo 1.99\n")
	empty := t.TempDir()
	for name, c := range map[string]struct {
		dir, variable, value, want string
	}{
		"no Go files":   {empty, "", "", "build " + empty + ": no Go files in the folder: name the one that holds func Webapp"},
		"no module":     {alone, "", "", "build " + alone + ": no go.mod here or above: run go mod init in the webapp's folder"},
		"no go command": {ok, "PATH", empty, "build " + ok + ": no go command in PATH: install " + runtime.Version()},
		"no compiler": {
			ok, "CC", "no-cc -O2",
			"build " + ok + ": no C compiler (no-cc) in PATH, which linking a plugin needs: apt-get install gcc libc6-dev",
		},
		"compile error": {wrong, "", "", "build " + wrong + ": # example.org/wrong/words\nwords/words.go:3:16: undefined: nothing"},
		"no Webapp": {lacking, "", "", "build " + lacking + ": # example.org/lacking\n" +
			"plugin_main/main.go:9:40: undefined: app.Webapp"},
		"no folder at all": {
			filepath.Join(empty, "x"), "", "",
			"build " + filepath.Join(empty, "x") + ": no such folder: name the one that holds func Webapp",
		},
		"a file": {
			filepath.Join(ok, "app.go"), "", "",
			"build " + filepath.Join(ok, "app.go") + ": app.go is a file: name the folder it lies in, " + ok,
		},
		"newer Go": {
			newer, "", "",
			"build " + newer + ": " + filepath.Join(newer,
				"go.mod") + ":3 asks for go 1.99, and a plugin is built with its host's Go, which is " + runtime.Version() +
				": go mod edit -go=" + strings.TrimPrefix(runtime.Version(), "go") + ", or build this nodeserver with a newer Go",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if c.variable != "" {
				t.Setenv(c.variable, c.value)
			}
			out := filepath.Join(t.TempDir(), "out.so")
			_, err := plugins.Build(t.Context(), plugins.BuildOptions{Dir: c.dir, Out: out})
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			if left, _ := filepath.Glob(out + "*"); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// The file's name may be left to Build, and a mode of the author's shell changes nothing.
func TestBuildIntoFolder(t *testing.T) {
	t.Setenv("GO111MODULE", "off")
	dir := writeApp(t, "tiny", "one")
	there := t.TempDir()
	for out, want := range map[string]string{
		there:                              filepath.Join(there, "tiny.so"),
		filepath.Join(there, "made") + "/": filepath.Join(there, "made", "tiny.so"),
	} {
		b, err := plugins.Build(t.Context(), plugins.BuildOptions{Dir: dir, Out: out})
		if err != nil || b.File != want {
			t.Errorf("-o %s: %q, %v; want %s", out, b.File, err, want)
		}
	}
}

// A file that can be no plugin is refused before it is read: a sparse one of 20 GB
// would fill the disk that its copy is on.
func TestHugeFileIsNotCopied(t *testing.T) {
	file := filepath.Join(t.TempDir(), "huge.so")
	write(t, file, "\x7fELF")
	if err := os.Truncate(file, 20<<30); err != nil {
		t.Fatal(err)
	}
	_, err := plugins.NewLoader().Open(file)
	if want := "check plugin " + file + ": 21474836480 bytes are over the limit of 4294967296 for a plugin"; err == nil ||
		err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// The plugin is compiled against the host's sources; another tree of the same
// name must not be taken for them.
func TestBuildRefusesOtherHostSources(t *testing.T) {
	dir, host := writeApp(t, "fine", "hello"), t.TempDir()
	write(t, filepath.Join(host, "go.mod"), "module github.com/nodeserver/nodeserver\n")
	write(t, filepath.Join(host, "webapps", "app.go"), "package webapps\n")
	for src, want := range map[string]string{
		host: "build " + dir + ": package webapps in " + host + " has changed since this binary was built: run make build there first",
		dir: "build " + dir + ": the folder " + dir + " is not in module github.com/nodeserver/nodeserver: give the " +
			"one this binary was built from",
	} {
		if _, err := plugins.Build(t.Context(), plugins.BuildOptions{Dir: dir, HostSrc: src}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestScan(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.so"), "12")
	write(t, filepath.Join(dir, "a.so"), "1")
	write(t, filepath.Join(dir, "a.so.new"), "1")
	write(t, filepath.Join(dir, "notes.txt"), "1")
	write(t, filepath.Join(dir, "folder.so", "c.so"), "1")
	files, err := plugins.Scan(dir)
	if err != nil || len(files) != 2 || filepath.Base(files[0].Path) != "a.so" || files[1].Info.Size() != 2 {
		t.Errorf("%v %v", files, err)
	}
	missing := filepath.Join(dir, "missing")
	want := "look for webapps in " + missing + ": no such folder: run make webapps, create it, or set webapps.dir"
	if _, err := plugins.Scan(missing); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestOpenDir(t *testing.T) {
	dir := t.TempDir()
	copyTo := func(from, name string) {
		t.Helper()
		content, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(content))
	}
	app := build(t, writeApp(t, "twice", "hello")).File
	copyTo(app, "a.so")
	copyTo(app, "b.so")
	write(t, filepath.Join(dir, "c.so"), "")
	if err := os.Symlink(filepath.Join(dir, "nowhere"), filepath.Join(dir, "d.so")); err != nil {
		t.Fatal(err)
	}
	all, err := plugins.NewLoader().OpenDir(dir)
	if err != nil || len(all) != 4 {
		t.Fatalf("%+v, %v", all, err)
	}
	for i, name := range []string{"a.so", "b.so", "c.so", "d.so"} {
		o := all[i]
		if want := filepath.Join(dir, name); o.File.Path != want || i < 2 && o.Plugin.File != want {
			t.Errorf("%+v, want %s", o, want)
		}
		if good := o.Err == nil && o.Plugin.App.Name == "twice"; good != (i < 2) {
			t.Errorf("%+v", o)
		}
	}
	want := fmt.Sprintf("check plugin %s/c.so: the file is empty: copy or build it again", dir)
	if all[2].Err.Error() != want {
		t.Errorf("got  %v\nwant %s", all[2].Err, want)
	}
	if errors.As(all[2].Err, new(*plugins.MismatchError)) {
		t.Error("an empty file is no mismatch")
	}
}
