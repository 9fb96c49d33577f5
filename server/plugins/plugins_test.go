package plugins_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// writeApp writes a module with a webapp of that name, whose answer comes from
// a package of its own.
func writeApp(t *testing.T, name, answer string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), name)
	write(t, filepath.Join(dir, "go.mod"), "module example.org/"+name+"\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "app.go"), fmt.Sprintf(`package main

import (
	"io"
	"net/http"

	"example.org/%[1]s/words"
	"github.com/nodeserver/nodeserver/webapps"
)

func Webapp() webapps.App {
	return webapps.App{Name: %[1]q, New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, words.Answer)
		}), nil
	}}
}

func main() {}
`, name))
	write(t, filepath.Join(dir, "words", "words.go"), fmt.Sprintf("package words\n\nconst Answer = %q\n", answer))
	return dir
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func build(t *testing.T, dir string) plugins.Built {
	t.Helper()
	b, err := plugins.Build(t.Context(), plugins.BuildOptions{Dir: dir, Out: filepath.Join(t.TempDir(), filepath.Base(dir)+".so")})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRedeploy(t *testing.T) {
	l := plugins.NewLoader()
	dir := writeApp(t, "tiny", "one")
	one := build(t, dir)
	first, err := l.Open(one.File)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "words", "words.go"), "package words\n\nconst Answer = `two`\n")
	two := build(t, dir)
	second, err := l.Open(two.File)
	if err != nil {
		t.Fatal(err)
	}
	if one.Revision == two.Revision || first.Revision != one.Revision || second.Revision != two.Revision {
		t.Errorf("revisions: built %s and %s, opened %s and %s", one.Revision, two.Revision, first.Revision, second.Revision)
	}
	for p, want := range map[*plugins.Plugin]string{&first: "one", &second: "two"} {
		if got := webappstest.New(t, p.App).Get("/").Body; got != want {
			t.Errorf("revision %s answers %q, want %q", p.Revision, got, want)
		}
	}
}

func TestSample(t *testing.T) {
	b := build(t, "../../webapps/counter")
	p, err := plugins.NewLoader().Open(b.File)
	if err != nil {
		t.Fatal(err)
	}
	c := webappstest.New(t, p.App)
	c.Get("/")
	if got := c.Get("/?format=text").Body; !strings.HasPrefix(got, "2 ") {
		t.Errorf("the counter in a plugin answers %q", got)
	}
}
