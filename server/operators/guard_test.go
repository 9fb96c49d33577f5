package operators_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/operators"
)

// tokensFile writes a tokens file with a token for each role.
func tokensFile(t *testing.T) (file, viewer, operator string) {
	t.Helper()
	viewer, operator = keys.New(), keys.New()
	lines := "# who may what\n\n"
	for token, r := range map[string]operators.Role{viewer: operators.Viewer, operator: operators.Operator} {
		line, err := operators.Line(r, "a-"+r.String(), token)
		if err != nil {
			t.Fatal(err)
		}
		lines += line + "\n"
	}
	return text(t, "tokens", lines), viewer, operator
}

func text(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// hostsOfTest are hosts of requests, and whether they may come.
var hostsOfTest = map[string]bool{
	"127.0.0.1:9081": true, "[::1]:9081": true, "LOCALHOST": true, "n1:9081": true, "ops.example.com": true, "proxy.example.com:1": true,
	"evil.example.com": false, "evil.example.com:9081": false, "127.0.0.1.evil.com": false, "": false,
}

// origin is a header that tells where a request comes from, and whether it may.
type origin struct {
	header, value string
	good          bool
}

func originsOfTest(host string, good bool) []origin {
	return []origin{
		{"X", "", true},
		{"Sec-Fetch-Site", "same-origin", true},
		{"Sec-Fetch-Site", "none", true},
		{"Sec-Fetch-Site", "cross-site", false},
		{"Sec-Fetch-Site", "same-site", false},
		{"Origin", "http://" + host, good},
		{"Origin", "http://evil.example.com", host == "evil.example.com"},
		{"Origin", "null", false},
	}
}

// Each way in which a request may be wrong, with each of the others, for each role and
// method, with tokens and without: the first fault in the order of the package's description
// is the answer, and nothing is done.
func TestGuard(t *testing.T) {
	file, viewer, operator := tokensFile(t)
	headers := map[string]operators.Role{ // -1: none, -2: of nobody
		"": -1, "Basic " + viewer: -2, "Bearer": -2, "Bearer " + keys.New(): -2,
		"Bearer " + viewer: operators.Viewer, "bearer " + operator: operators.Operator, "BEARER  " + operator: operators.Operator,
	}
	for _, open := range []bool{false, true} {
		var log bytes.Buffer
		done := 0
		routes := []operators.Route{
			{Method: "GET", Path: "/health", Role: operators.Anyone, Handler: func(http.ResponseWriter, *http.Request) { done++ }},
			{Method: "GET", Path: "/look", Role: operators.Viewer, Handler: func(http.ResponseWriter, *http.Request) { done++ }},
			{Method: "GET", Path: "/inside", Role: operators.Operator, Handler: func(http.ResponseWriter, *http.Request) { done++ }},
			{
				Method: "POST",
				Path:   "/change/{of}",
				Role:   operators.Operator,
				Action: "change",
				Handler: func(_ http.ResponseWriter, r *http.Request) {
					done++
					operators.ActOf(r.Context()).Note("of", r.PathValue("of"))
				},
			},
		}
		cfg := operators.Config{
			Names: []string{"n1"},
			Admin: config.Admin{Address: "ops.example.com:9081", Hosts: []string{"Proxy.Example.com"}},
		}
		if !open {
			cfg.Admin.TokensFile = file
		}
		g, err := operators.New(cfg, slog.New(slog.NewJSONHandler(&log, nil)), routes)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, route := range routes {
			for _, method := range []string{"GET", "HEAD", "POST", "DELETE", "OPTIONS"} {
				for host, good := range hostsOfTest {
					for _, from := range originsOfTest(host, good) {
						for token, role := range headers {
							n++
							before, logged := done, log.Len()
							r := httptest.NewRequestWithContext(
								t.Context(), method, strings.ReplaceAll(route.Path, "{of}", "x"),
								http.NoBody,
							)
							r.Host = host
							r.Header.Set(from.header, from.value)
							if token != "" {
								r.Header.Set("Authorization", token)
							}
							w := httptest.NewRecorder()
							g.ServeHTTP(w, r)
							fits := method == route.Method || method == "HEAD" && route.Method == "GET"
							want := func() int {
								switch {
								case route.Role == operators.Anyone && fits:
									return http.StatusOK
								case !good:
									return http.StatusMisdirectedRequest
								case !from.good:
									return http.StatusForbidden
								case !fits:
									return http.StatusMethodNotAllowed
								case open && route.Role == operators.Viewer:
									return http.StatusOK
								case open || role < 0:
									return http.StatusUnauthorized
								case role < route.Role:
									return http.StatusForbidden
								}
								return http.StatusOK
							}()
							what := fmt.Sprintf(
								"%s %s at %q, %s: %q, token of %v, no file: %v", method, route.Path,
								host, from.header, from.value, role, open,
							)
							if w.Code != want {
								t.Fatalf("%s: %d %s, want %d", what, w.Code, w.Body, want)
							}
							if (done > before) != (want == http.StatusOK) {
								t.Fatalf("%s: done %d times, status %d", what, done-before, want)
							}
							if changed := fits && route.Method == "POST" && want == http.StatusOK; changed {
								var line map[string]any
								if err := json.Unmarshal(
									log.Bytes()[logged:],
									&line,
								); err != nil || line["msg"] != "audit" || line["actor"] != "a-operator" ||
									line["action"] != "change" || line["of"] != "x" ||
									line["result"] != "done" {
									t.Fatalf("%s: audit log: %s", what, log.Bytes()[logged:])
								}
							}
							if strings.Contains(w.Body.String(), "nsec1") {
								t.Fatalf("%s: a token is in the answer", what)
							}
						}
					}
				}
			}
		}
		if n < 5000 {
			t.Errorf("%d cases only", n)
		}
		if !strings.Contains(log.String(), `"result":"refused"`) || strings.Count(log.String(), `"result":"refused"`) > 1 {
			t.Errorf("changes that are refused are told %d times, want once a minute", strings.Count(log.String(), "refused"))
		}
		if strings.Contains(log.String(), "nsec1") {
			t.Error("a token is in the log")
		}
	}
}

// Each reason has a text of its own.
func TestGuardSaysWhy(t *testing.T) {
	file, viewer, _ := tokensFile(t)
	g, err := operators.New(operators.Config{Admin: config.Admin{TokensFile: file}}, slog.New(slog.DiscardHandler), []operators.Route{
		{Method: "POST", Path: "/change", Role: operators.Operator, Action: "change", Handler: func(http.ResponseWriter, *http.Request) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ method, path, host, header, value, want string }{
		{"POST", "/change", "evil", "X", "", `requests for the host "evil" are not answered here`},
		{"POST", "/change", "[::1]", "Origin", "http://evil", `(Origin: "http://evil")`},
		{"POST", "/change", "[::1]", "Sec-Fetch-Site", "same-site", `(Sec-Fetch-Site: "same-site")`},
		{"GET", "/change", "[::1]", "X", "", "/change is for POST, not for GET: it changes something"},
		{"POST", "/none", "[::1]", "X", "", "404 page not found"},
		{"POST", "/change", "[::1]", "X", "", "this takes a token with the role operator, as: Authorization: Bearer TOKEN"},
		{"POST", "/change", "[::1]", "Authorization", "Bearer x", "this token is not known here"},
		{"POST", "/change", "[::1]", "Authorization", "Bearer " + viewer, "this takes the role operator, the token of a-viewer " +
			"has the role viewer"},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody)
		r.Host = c.host
		r.Header.Set(c.header, c.value)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%d %s, want %s", w.Code, w.Body, c.want)
		}
	}
}

// What fails is written down as that, with its reason; also where the handler panics.
func TestAuditOfFailures(t *testing.T) {
	file, _, operator := tokensFile(t)
	var log bytes.Buffer
	g, err := operators.New(
		operators.Config{Admin: config.Admin{TokensFile: file}},
		slog.New(slog.NewTextHandler(&log, nil)),
		[]operators.Route{
			{
				Method: "POST",
				Path:   "/fail",
				Role:   operators.Operator,
				Action: "fail",
				Handler: func(w http.ResponseWriter, r *http.Request) {
					operators.ActOf(r.Context()).Note("reason", "no room")
					http.Error(w, "no room", http.StatusInsufficientStorage)
				},
			},
			{
				Method:  "DELETE",
				Path:    "/panic",
				Role:    operators.Operator,
				Action:  "panic",
				Handler: func(http.ResponseWriter, *http.Request) { panic("x") },
			},
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range []string{"POST /fail", "DELETE /panic"} {
		method, path, _ := strings.Cut(route, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
		r.Host = "localhost"
		r.Header.Set("Authorization", "Bearer "+operator)
		func() {
			defer func() { _ = recover() }()
			g.ServeHTTP(httptest.NewRecorder(), r)
		}()
	}
	for _, want := range []string{
		`action=fail path=/fail`, `result=failed status=507`, `reason="no room"`, `action=panic path=/panic`, `result=failed status=0`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %s in\n%s", want, log.String())
		}
	}
}

// A change for viewers, or one without a name for the audit log, is a fault of the table.
func TestTableOfRoutesIsChecked(t *testing.T) {
	for _, r := range []operators.Route{
		{Method: "POST", Path: "/x", Role: operators.Viewer, Action: "x"}, {Method: "DELETE", Path: "/x", Role: operators.Operator},
	} {
		if _, err := operators.New(operators.Config{}, slog.New(slog.DiscardHandler), []operators.Route{r}); err == nil {
			t.Errorf("%+v is taken", r)
		}
	}
}

func TestTokensFileRefused(t *testing.T) {
	good, _, _ := tokensFile(t)
	secret := keys.New()
	asToken, err := operators.Line(operators.Viewer, "anna", secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ text, want string }{
		{"# nobody\n", "FILE holds no token, so that nobody could use it: `nodeserver token new NAME --role operator --file FILE` " +
			"adds one"},
		{"\noperator:anna\n", "FILE:2: this is not role:name:sha256, as `nodeserver token new NAME --role ROLE` prints it"},
		{"root:anna:00", `FILE:1: "root" is no role: use viewer or operator`},
		{"viewer:an na:00", "FILE:1: the name of the token won't do: use 1 to 64 of A-Z a-z 0-9 . _ @ -"},
		{asToken[:60], "FILE:1: the third part is not a SHA-256 in 64 hexadecimal digits: was it cut off?"},
		{asToken + "\n" + asToken, "FILE:2: this token is there already, for anna"},
		{asToken, "the token of anna is the secret in cluster.secret_file, so that an operator's token would make a member: make " +
			"another with `nodeserver token new anna --role viewer`"},
	} {
		file := text(t, "tokens", c.text)
		_, err := operators.New(
			operators.Config{SecretFile: text(t, "secret", secret), Admin: config.Admin{TokensFile: file}},
			slog.New(slog.DiscardHandler),
			nil,
		)
		if want := "admin.tokens_file: " + strings.ReplaceAll(c.want, "FILE", file); err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", c.text, err, want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%q: the token is in the error", c.text)
		}
	}
	missing := good + "x"
	want := "admin.tokens_file: " + missing + " does not exist: make it with `nodeserver token new NAME --role operator --file " +
		"" + missing + "`"
	if _, err := operators.New(
		operators.Config{Admin: config.Admin{TokensFile: missing}},
		slog.New(slog.DiscardHandler),
		nil,
	); err == nil ||
		err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	if err := os.Chmod(good, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := operators.New(
		operators.Config{Admin: config.Admin{TokensFile: good}},
		slog.New(slog.DiscardHandler),
		nil,
	); err == nil ||
		!strings.Contains(err.Error(), "chmod go-w") {
		t.Errorf("a file that others can write: %v", err)
	}
}

// A token that is added to the tokens file, or taken out, is so at once; a file that can't be
// read changes nothing.
func TestTokensFileIsReadAnew(t *testing.T) {
	file, viewer, _ := tokensFile(t)
	g, err := operators.New(operators.Config{Admin: config.Admin{TokensFile: file}}, slog.New(slog.DiscardHandler), []operators.Route{
		{Method: "GET", Path: "/look", Role: operators.Viewer, Handler: func(http.ResponseWriter, *http.Request) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	status := func(token string) int {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/look", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		return w.Code
	}
	put := func(text string, age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age) // clocks of file systems are coarse
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, at, at)); err != nil {
			t.Fatal(err)
		}
	}
	other := keys.New()
	line, err := operators.Line(operators.Viewer, "other", other)
	if err != nil {
		t.Fatal(err)
	}
	if status(viewer) != http.StatusOK || status(other) != http.StatusUnauthorized {
		t.Error("before")
	}
	put("operator:broken:\n", time.Hour)
	if status(viewer) != http.StatusOK || status(other) != http.StatusUnauthorized {
		t.Error("a broken file has changed something")
	}
	put(line, 2*time.Hour)
	if status(viewer) != http.StatusUnauthorized || status(other) != http.StatusOK {
		t.Error("a new file has changed nothing")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if status(other) != http.StatusOK {
		t.Error("without the file nobody can look any more")
	}
}

// Without tokens in the conf, whoever started the node finds a token for changes, others don't.
func TestStartToken(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	changed := 0
	g, err := operators.New(operators.Config{}, slog.New(slog.DiscardHandler), []operators.Route{
		{
			Method:  "POST",
			Path:    "/change",
			Role:    operators.Operator,
			Action:  "change",
			Handler: func(http.ResponseWriter, *http.Request) { changed++ },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	end, err := g.Start("127.0.0.1:9081")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "nodeserver", "127.0.0.1:9081.token")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	for _, address := range []string{"127.0.0.1:9081", "localhost:9081"} {
		token, ok := operators.Find(address)
		if !ok {
			t.Fatalf("no token for %s", address)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost/change", http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token.Text())
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			body, _ := io.ReadAll(w.Body)
			t.Errorf("%s: %d %s", address, w.Code, body)
		}
	}
	if changed != 2 {
		t.Errorf("changed %d times", changed)
	}
	if _, ok := operators.Find("127.0.0.1:9082"); ok {
		t.Error("another node's address has a token")
	}
	end()
	if _, ok := operators.Find("127.0.0.1:9081"); ok {
		t.Error("the token stays after the node's end")
	}
	t.Setenv("XDG_RUNTIME_DIR", file+"/none/of/that")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Start("127.0.0.1:9081"); err == nil || !strings.Contains(err.Error(), "name tokens in admin.tokens_file") {
		t.Errorf("a folder that can't be made: %v", err)
	}
}
