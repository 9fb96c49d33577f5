package plugins_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// What New writes passes its own tests, is formatted, and can be built and loaded.
func TestNewWebapp(t *testing.T) {
	for _, kind := range plugins.Templates() {
		t.Run(kind, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "shop")
			if _, err := plugins.New(t.Context(), plugins.NewOptions{Name: "my-shop", Dir: dir, Template: kind}); err != nil {
				t.Fatal(err)
			}
			for _, args := range [][]string{{"go", "vet", "./..."}, {"go", "test", "./..."}, {"gofmt", "-l", "."}} {
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				cmd.Dir = dir
				if out, err := cmd.CombinedOutput(); err != nil || args[0] == "gofmt" && len(out) > 0 {
					t.Errorf("%v: %v\n%s", args, err, out)
				}
			}
			p, err := plugins.NewLoader().Open(build(t, dir).File)
			if err != nil {
				t.Fatal(err)
			}
			u := webappstest.New(t, p.App)
			if got := u.Get(map[string]string{"page": "/", "api": "/items"}[kind]); p.App.Name != "my-shop" || got.Status != 200 {
				t.Errorf("app %q answers %d %s", p.App.Name, got.Status, got.Body)
			}
		})
	}
}

func TestNewWebappRefused(t *testing.T) {
	full := t.TempDir()
	write(t, filepath.Join(full, "mine.txt"), "mine")
	for _, c := range []struct {
		o    plugins.NewOptions
		want string
	}{
		{plugins.NewOptions{Name: "My Shop"}, `new webapp "My Shop": the name is also the app's path: want 1 to 64 of a-z, 0-9 and -`},
		{plugins.NewOptions{Name: "shop", Template: "wiki"}, `new webapp "shop": there is no template "wiki": choose one of page, api`},
		{plugins.NewOptions{Name: "shop", Dir: full}, "is not empty (it has mine.txt): name another one"},
	} {
		if _, err := plugins.New(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.o, err, c.want)
		}
	}
	if there, _ := os.ReadDir(full); len(there) != 1 {
		t.Errorf("a refused call wrote into the folder: %v", there)
	}
}
