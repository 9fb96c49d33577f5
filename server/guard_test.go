package server

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/operators"
)

// TestMain gives the nodes of all tests a place for their start tokens.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nodeserver-test-")
	if err == nil {
		err = os.Setenv("XDG_RUNTIME_DIR", dir)
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // nothing depends on it any more
	os.Exit(code)
}

// operator asks a node's admin address.
type operator struct {
	t     *testing.T
	admin string
	token string // empty: none
}

// ask sends a request, with headers as name and value; Host is one.
func (o operator) ask(method, path string, headers ...string) (int, string) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), method, o.admin+path, http.NoBody)
	if err != nil {
		o.t.Fatal(err)
	}
	if o.token != "" {
		r.Header.Set("Authorization", "Bearer "+o.token)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer w.Body.Close()
	body, err := io.ReadAll(w.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return w.StatusCode, string(body)
}

// Every route that a node has: what is refused to whom. Only what would change something
// is not carried out.
func TestEveryRouteIsGuarded(t *testing.T) {
	tokens := map[operators.Role]string{operators.Viewer: keys.New(), operators.Operator: keys.New()}
	cfg := testConf("n1")
	cfg.Admin.PProf, cfg.Admin.Console = true, true
	cfg.Admin.TokensFile = filepath.Join(t.TempDir(), "tokens")
	var lines strings.Builder
	for role, token := range tokens {
		line, err := operators.Line(role, "a", token)
		if err != nil {
			t.Fatal(err)
		}
		lines.WriteString(line + "\n")
	}
	if err := os.WriteFile(cfg.Admin.TokensFile, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, cfg, testApp())
	n.waitReady()
	someone := newUser(t)
	someone.get(n, "/test/inc")
	page, _ := n.server.manager().Newest(deltamanager.Query{Limit: 1})
	if len(page) != 1 {
		t.Fatalf("%d sessions", len(page))
	}
	guard, _, err := n.server.operators()
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string][]string{}
	for _, route := range guard.Routes() {
		allowed[route.Path] = append(allowed[route.Path], route.Method)
	}
	for _, route := range guard.Routes() {
		path := strings.NewReplacer("{$}", "", "{id}", page[0].Key.String(), "{", "", "}", "").Replace(route.Path)
		want := func(o operator, method string, status int, headers ...string) {
			t.Helper()
			o.t, o.admin = t, n.admin
			if got, body := o.ask(method, path, headers...); got != status {
				t.Errorf("%s %s %v: %d %q, want %d", method, path, headers, got, body, status)
			}
		}
		if route.Own { // what it does with a token and an Origin, package console tests
			want(operator{}, route.Method, http.StatusMisdirectedRequest, "Host", "evil.example.com")
			want(operator{}, route.Method, http.StatusForbidden, "Origin", "http://evil.example.com")
			want(operator{}, route.Method, http.StatusForbidden, "Sec-Fetch-Site", "cross-site")
			if route.Method != http.MethodGet {
				want(operator{}, route.Method, http.StatusForbidden) // no Origin
			}
			continue
		}
		if route.Role == operators.Anyone {
			want(operator{}, route.Method, http.StatusOK, "Host", "evil.example.com")
			continue
		}
		good := operator{token: tokens[operators.Operator]}
		want(good, route.Method, http.StatusMisdirectedRequest, "Host", "evil.example.com")
		want(good, route.Method, http.StatusForbidden, "Origin", "http://evil.example.com")
		want(good, route.Method, http.StatusForbidden, "Sec-Fetch-Site", "cross-site")
		want(operator{}, route.Method, http.StatusUnauthorized)
		want(operator{}, route.Method, http.StatusUnauthorized, "Cookie", "nodeserver-console-80=x")
		want(operator{token: keys.New()}, route.Method, http.StatusUnauthorized)
		want(good, http.MethodPatch, http.StatusMethodNotAllowed)
		if len(allowed[route.Path]) == 1 && route.Method != http.MethodGet {
			want(good, http.MethodGet, http.StatusMethodNotAllowed)
		}
		if route.Role == operators.Operator {
			want(operator{token: tokens[operators.Viewer]}, route.Method, http.StatusForbidden)
		} else {
			want(operator{token: tokens[operators.Viewer]}, route.Method, http.StatusOK)
		}
		if route.Method == http.MethodGet && !strings.HasSuffix(path, "/profile") && !strings.HasSuffix(path, "/trace") {
			want(good, route.Method, http.StatusOK)
		}
	}
}

// Profiles are off until the conf says otherwise, and never take long.
func TestProfiles(t *testing.T) {
	for on, wants := range map[bool]map[string]int{
		false: {"": 404, "heap": 404, "profile?seconds=1": 404},
		true: {
			"": 200, "goroutine?debug=1": 200, "trace?seconds=0.01": 200,
			"profile?seconds=61": 400, "trace?seconds=1e9": 400, "heap?seconds=-1": 400, "heap?seconds=NaN": 400,
		},
	} {
		cfg := testConf("n1")
		cfg.Admin.PProf = on
		n := startNode(t, cfg, testApp())
		n.waitReady()
		token, ok := operators.Find(strings.TrimPrefix(n.admin, "http://"))
		if !ok {
			t.Fatal("no start token")
		}
		for path, want := range wants {
			if got, body := (operator{t, n.admin, token.Text()}).ask("GET", "/debug/pprof/"+path); got != want {
				t.Errorf("on: %v, %s: %d %.100q, want %d", on, path, got, body, want)
			}
			if got, _ := (operator{t, n.admin, ""}).ask("GET", "/debug/pprof/"+path); got != http.StatusUnauthorized {
				t.Errorf("on: %v, %s without a token: %d", on, path, got)
			}
		}
	}
}
