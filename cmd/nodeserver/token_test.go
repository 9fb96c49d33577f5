package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/operators"
)

// Tokens that the command makes are those that a node takes, each with its role.
func TestTokenNew(t *testing.T) {
	dir := t.TempDir()
	list, out := filepath.Join(dir, "tokens"), filepath.Join(dir, "anna.token")
	if err := os.WriteFile(list, []byte("# tokens"), 0o600); err != nil { // no end of its last line
		t.Fatal(err)
	}
	code, stdout, stderr := nodeserver(t, nil, "token", "new", "anna", "--role", "operator", "--file", list, "-o", out)
	if code != exitGood || stdout != "" || stderr != "" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	code, viewer, line := nodeserver(t, nil, "token", "new", "bob", "--role", "viewer")
	if code != exitGood || !strings.HasPrefix(line, "for [admin] tokens_file: viewer:bob:") ||
		strings.Contains(line, strings.TrimSpace(viewer)) {
		t.Fatalf("exit code %d, %q", code, line)
	}
	if err := appendLine(list, strings.TrimSpace(strings.TrimPrefix(line, "for [admin] tokens_file: "))); err != nil {
		t.Fatal(err)
	}
	g, err := operators.New(operators.Config{Admin: config.Admin{TokensFile: list}}, slog.New(slog.DiscardHandler), []operators.Route{
		{
			Method:  "GET",
			Path:    "/api/v1/members",
			Role:    operators.Viewer,
			Handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(membersBody)) },
		},
		{Method: "GET", Path: "/inside", Role: operators.Operator, Handler: func(http.ResponseWriter, *http.Request) {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g)
	defer s.Close()
	if code, _, stderr := nodeserver(t, nil, "members", "--admin", s.Listener.Addr().String(), "--token-file", out); code != exitGood {
		t.Errorf("members with the token: %s", stderr)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/inside", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(viewer))
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _ = w.Body.Close(); w.StatusCode != http.StatusForbidden {
		t.Errorf("a viewer inside: %s", w.Status)
	}
	if code, _, stderr := nodeserver(
		t, nil, "token", "new", "anna", "--role", "viewer", "-o", out,
	); code != exitNot ||
		!strings.Contains(stderr, "exists") {
		t.Errorf("a file that is there is written over: %d %s", code, stderr)
	}
}
