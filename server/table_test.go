package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/channel/channeltest"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/internal/headers"
	"github.com/nodeserver/nodeserver/webapps"
)

// hello is an app that answers with its name.
func hello(name string) webapps.App {
	return webapps.App{Name: name, New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello of ", name) }), nil
	}}
}

// What users are told of an app that is not served.
const (
	notLoaded  = "it could not be loaded"
	notStarted = "it could not be started"
	ambiguous  = "two apps want its place"
)

type newFunc = func(webapps.Context) (http.Handler, error)

// badApps are the ways in which an app can't be started, with the end of the reason.
var badApps = map[string]struct {
	create newFunc
	reason string
}{
	"error": {func(webapps.Context) (http.Handler, error) { return nil, errors.New("no db at /secret/place") }, "no db at /secret/place"},
	"panic": {func(webapps.Context) (http.Handler, error) { panic("no luck") }, "its New function panicked: no luck"},
	"nil":   {func(webapps.Context) (http.Handler, error) { return nil, nil }, "its New function returned no handler, and no error"},
	"nilfunc": {
		func(webapps.Context) (http.Handler, error) { return http.HandlerFunc(nil), nil },
		"its New function returned no handler, and no error",
	},
	"nilmux": {
		func(webapps.Context) (http.Handler, error) { return (*http.ServeMux)(nil), nil },
		"its New function returned no handler, and no error",
	},
	"goexit": {
		func(webapps.Context) (http.Handler, error) { runtime.Goexit(); return nil, nil },
		"its New function ended its goroutine (runtime.Goexit)",
	},
	"hang": {func(c webapps.Context) (http.Handler, error) {
		<-c.Done() // which the node closes when it has given up
		return http.NotFoundHandler(), nil
	}, "its New function has not returned after 30s"},
	"nonew": {nil, "app nonew has no New function"},
}

// One bad app of each kind, and a good one, which is served; nobody is told that
// the node hosts the bad ones.
func TestBadAppsAreNotServed(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "junk.so"), []byte("#!/bin/sh\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Not A Name \xff.so"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		apps := []webapps.App{hello("good"), hello("twice"), hello("twice"), hello("a-path"), hello("b-path")}
		for name, bad := range badApps {
			apps = append(apps, webapps.App{Name: name, New: bad.create})
		}
		cfg := testConf("n1")
		cfg.Channel.Insecure = true
		cfg.Webapps = config.Webapps{Dir: dir}
		cfg.Apps = []config.App{{Name: "a-path", Path: "/shop/"}, {Name: "b-path", Path: "/shop/"}}
		network := channeltest.NewNetwork()
		var log strings.Builder
		const limit = 30 * time.Second
		began := time.Now()
		s, err := New(
			cfg, apps, slog.New(slog.NewTextHandler(&log, nil)),
			WithListeners(network.Listen("n1:80"), network.Listen("n1:81"), network.Listen("n1:1")),
		)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != limit {
			t.Errorf("New took %v: one that hangs takes %v", took, limit)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		dial := network.Dialer("user")
		client := &http.Client{
			Transport: &http.Transport{
				DisableKeepAlives: true,
				DialContext:       func(ctx context.Context, _, addr string) (net.Conn, error) { return dial(ctx, addr) },
			},
		}
		get := func(url string) (int, string, http.Header) {
			t.Helper()
			r, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return r.StatusCode, string(body), r.Header
		}
		pass(time.Second)
		status, body, _ := get("http://n1:81/readyz")
		if status != http.StatusOK || !strings.HasPrefix(body, "ready\n") || !strings.Contains(body, `not served: app "panic"`) {
			t.Errorf("readyz: %d %s", status, body)
		}
		if status, body, _ := get("http://n1:80/good/"); status != http.StatusOK || body != "hello of good" {
			t.Errorf("the good app: %d %s", status, body)
		}
		for path, reason := range map[string]string{
			"/error/": notStarted, "/panic/x": notStarted, "/nil/": notStarted, "/nilfunc/": notStarted, "/nilmux/": notStarted,
			"/goexit/": notStarted, "/hang/": notStarted, "/nonew/": notLoaded, "/junk/": notLoaded,
			"/twice/": ambiguous, "/shop/": ambiguous,
		} {
			status, body, header := get("http://n1:80" + path)
			if status != http.StatusServiceUnavailable || !strings.HasSuffix(body, "is not served by this node: "+reason+"\n") ||
				header.Get(headers.Retry) != "next" {
				t.Errorf("%s: %d %s %v", path, status, body, header)
			}
			if strings.Contains(body, dir) || strings.Contains(body, "secret") || strings.Contains(body, "luck") {
				t.Errorf("%s tells users too much: %s", path, body)
			}
		}
		_, members, _ := get("http://n1:81/api/v1/members")
		_, metrics, _ := get("http://n1:81/metrics")
		for name, bad := range badApps {
			if !strings.Contains(members, bad.reason) || !strings.Contains(log.String(), bad.reason) {
				t.Errorf("%s: members or log don't say %q", name, bad.reason)
			}
			if want := fmt.Sprintf("\nnodeserver_app_up{app=%q} 0\n", name); !strings.Contains(metrics, want) {
				t.Errorf("metrics don't say %s", want)
			}
		}
		if !strings.Contains(metrics, "\nnodeserver_app_up{app=\"good\"} 1\n") {
			t.Error("metrics don't say that the good app is up")
		}
		if self := s.status()[0]; len(self.Apps) != 1 || self.Apps[0] != "good" {
			t.Errorf("the node says that it hosts %v", self.Apps)
		}
	})
}

// With webapps.strict each of them keeps the node from starting.
func TestStrictRefusesBadApps(t *testing.T) {
	for name, bad := range badApps {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := New(testConf("n1"), []webapps.App{hello("good"), {Name: name, New: bad.create}}, discard())
				if err == nil || !strings.HasSuffix(err.Error(), bad.reason) {
					t.Errorf("got %v, want … %s", err, bad.reason)
				}
			})
		})
	}
}
