package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// devApp is the source of an app that shows a word and counts its user's visits.
func devApp(word string) string {
	return fmt.Sprintf(`package hello

import (
	"fmt"
	"net/http"

	"github.com/nodeserver/nodeserver/webapps"
)

func Webapp() webapps.App {
	return webapps.App{Name: "hello", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n := 0
			_ = webapps.SessionOf(r).Update("n", &n, func() error { n++; return nil })
			fmt.Fprint(w, %s, " ", n)
		}), nil
	}}
}
`, word)
}

// An author saves, makes an error, and mends it, with several nodes behind one address: each
// answer follows the sources, the session stays, and Ctrl-C leaves nothing behind.
func TestDev(t *testing.T) {
	t.Parallel()
	dir, tmp, address := t.TempDir(), t.TempDir(), freeAddress(t)
	save := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const module = "github.com/nodeserver/nodeserver"
	const mod = "module example.com/hello\n\ngo 1.26.0\n\nrequire %s v0.0.0\n\nreplace %[1]s => %q\n"
	save("go.mod", fmt.Sprintf(mod, module, absolute("..")))
	save("app.go", devApp(`"red"`))
	var log logBuffer
	cmd := exec.Command(absolute("../bin/nodeserver"), "dev", dir, "--nodes", "2", "--address", address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()

	jar, _ := cookiejar.New(nil) // never fails
	client := http.Client{Jar: jar, Timeout: 10 * time.Second}
	shows := func(status int, text string) {
		t.Helper()
		within(t, 2*time.Minute, text, func() error {
			r, err := http.NewRequest(http.MethodGet, "http://"+address+"/hello/", http.NoBody)
			if err != nil {
				return err
			}
			r.Header.Set("Accept", "text/html")
			w, err := client.Do(r)
			if err != nil {
				return err
			}
			defer func() { _ = w.Body.Close() }()
			body, err := io.ReadAll(w.Body)
			if err != nil || w.StatusCode != status || !strings.Contains(string(body), text) {
				return fmt.Errorf("%s %q %w\n%s", w.Status, body, err, log.String())
			}
			return nil
		})
	}
	shows(http.StatusOK, "red 1")
	save("app.go", devApp(`<b>`))
	shows(http.StatusInternalServerError, "&lt;")
	if !strings.Contains(log.String(), "app.go:") {
		t.Errorf("the terminal does not show the error:\n%s", log.String())
	}
	save("app.go", devApp(`"blue"`))
	shows(http.StatusOK, "blue 2")

	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("ended by %v:\n%s", err, log.String())
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("has not ended:\n%s", log.String())
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	links, _ := filepath.Glob("/proc/[0-9]*/cwd") // the nodes run in a folder below tmp
	for _, link := range links {
		if at, err := os.Readlink(link); err == nil && strings.HasPrefix(at, tmp) {
			t.Errorf("left behind: process %s", link)
		}
	}
}
