package server

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
)

// A members file that goes away is seen by operators, with the reason, until it is
// back.
func TestAProviderThatFailsIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "members")
	write := func() {
		t.Helper()
		if err := os.WriteFile(path, []byte("127.0.0.1:1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write()
	cfg := testConf("n1")
	cfg.Membership.Providers, cfg.Membership.Static, cfg.Membership.File = []config.Provider{"file"}, nil, path
	n := startNode(t, cfg, testApp())
	n.waitReady()
	get := func(path string) string {
		r, err := http.Get(n.admin + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		return string(b)
	}
	problem := func() string {
		var reply admin.MembersReply
		err := json.Unmarshal([]byte(get("/api/v1/members")), &reply)
		if err != nil || len(reply.Providers) != 1 || reply.Providers[0].Name != "file" {
			t.Fatalf("members: %+v, %v", reply, err)
		}
		return reply.Providers[0].Problem
	}
	up := func(value string) bool {
		return strings.Contains(get("/metrics"), `nodeserver_membership_provider_up{provider="file"} `+value)
	}
	if problem() != "" || !up("1") {
		t.Errorf("at the start: %q", problem())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is told", func() bool { return strings.Contains(problem(), "no such file") && up("0") })
	write()
	eventually(t, "the file that is back is told", func() bool { return problem() == "" && up("1") })
}
