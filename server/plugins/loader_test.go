package plugins

import (
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/nodeserver/nodeserver/webapps"
)

func TestAppOf(t *testing.T) {
	start := func(webapps.Context) (http.Handler, error) { return http.NotFoundHandler(), nil }
	returns := func(a webapps.App) any { return func() webapps.App { return a } }
	for name, c := range map[string]struct {
		symbol any
		want   string
	}{
		"good":       {returns(webapps.App{Name: "my-app-2", New: start}), ""},
		"variable":   {new(webapps.App), "its Webapp is a *webapps.App, want a func() webapps.App"},
		"no name":    {returns(webapps.App{New: start}), `its app's name "": want 1 to 64 of a-z, 0-9 and -`},
		"upper case": {returns(webapps.App{Name: "App", New: start}), `its app's name "App": want 1 to 64 of a-z, 0-9 and -`},
		"path":       {returns(webapps.App{Name: "a/b", New: start}), `its app's name "a/b": want 1 to 64 of a-z, 0-9 and -`},
		"long name": {
			returns(webapps.App{Name: strings.Repeat("a", 65), New: start}),
			`its app's name "` + strings.Repeat("a", 65) + `": want 1 to 64 of a-z, 0-9 and -`,
		},
		"no New": {returns(webapps.App{Name: "x"}), "its app x has no New"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := appOf(c.symbol)
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		_, err := Guard(openLimit, initOrWebapp, func() (webapps.App, error) {
			<-release
			return webapps.App{}, nil
		})
		close(release)
		want := "its init or Webapp function has not returned after 10s"
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	})
	_, err := Guard(openLimit, initOrWebapp, func() (webapps.App, error) { panic("no luck") })
	if want := "its init or Webapp function panicked: no luck"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, err := Guard(openLimit, initOrWebapp, func() (int, error) { runtime.Goexit(); return 1, nil }); err == nil {
		t.Error("a function that never returned has no error")
	}
	if app, err := Guard(
		openLimit,
		initOrWebapp,
		func() (webapps.App, error) { return webapps.App{Name: "x"}, nil },
	); err != nil ||
		app.Name != "x" {
		t.Errorf("%v %v", app, err)
	}
}

func TestExplainLoad(t *testing.T) {
	err := explainLoad(errors.New(`plugin.Open("a"): plugin was built with a different version of package internal/goarch`))
	want := "it was built with another package internal/goarch than this node, though versions and settings are the same: " +
		"rebuild it with this nodeserver's build DIR, on this machine"
	if err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestConflict(t *testing.T) {
	l := NewLoader()
	l.loaded["example.org/dep"] = loaded{module{"v1.0.0", "h1:a"}, "a.so"}
	l.loaded["webapp/a/1-2"] = loaded{module{"(devel)", ""}, "a.so"}
	l.loaded[apiModule] = loaded{module{"(devel)", ""}, "a.so"}
	for name, c := range map[string]struct{ path, version, sum, want string }{
		"same":    {"example.org/dep", "v1.0.0", "h1:a", ""},
		"another": {"example.org/dep2", "v1.0.0", "h1:b", ""},
		"host":    {apiModule, "v0.0.0-2026", "", ""},
		"version": {
			"example.org/dep", "v1.1.0", "h1:b",
			"it has example.org/dep v1.1.0, but a.so, loaded before, has v1.0.0: require the same in both, and restart the node",
		},
		"own revision": {
			"webapp/a/1-2", "(devel)", "",
			"this revision was loaded already, from a.so, built differently: change the source, or restart the node",
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := l.conflict(binary{main: "webapp/a/1-2", modules: map[string]module{c.path: {c.version, c.sum}}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || err.Error() != c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
