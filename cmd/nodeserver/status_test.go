package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/keys"
)

// nodesOf are nodes that see each other well, as change alters what they say.
func nodesOf(change func(name string, r *admin.NodeReport), names ...string) (rows []admin.NodeRow) {
	for _, name := range names {
		r := &admin.NodeReport{Node: name, Ready: true, Version: "1.0", ConfDigest: "c0ffee"}
		for _, other := range names {
			r.Members = append(r.Members, admin.MemberRow{Name: other, State: "alive", Ready: true, InSync: true, Self: other == name})
		}
		if change != nil {
			change(name, r)
		}
		rows = append(rows, admin.NodeRow{Name: name, State: "alive", Self: name == "n1", Report: r})
	}
	return rows
}

// Each thing that may be wrong is told with what to do, and decides the exit code.
func TestStatus(t *testing.T) {
	at := func(node string, change func(*admin.NodeReport)) func(string, *admin.NodeReport) {
		return func(name string, r *admin.NodeReport) {
			if name == node {
				change(r)
			}
		}
	}
	without := func(state, problem string, left bool) []admin.NodeRow {
		rows := nodesOf(nil, "n1", "n2")
		rows[1].Report, rows[1].State, rows[1].Problem, rows[1].Left = nil, state, problem, left
		return rows
	}
	two := func(node string, change func(*admin.NodeReport)) []admin.NodeRow {
		return nodesOf(at(node, change), "n1", "n2")
	}
	for _, c := range []struct {
		what string
		rows []admin.NodeRow
		code int
		want []string
	}{
		{"all well", nodesOf(nil, "n1", "n2"), 0, []string{
			"All is well: 2 members serve users, none lacks a session.\n",
			"NODE  READY  SESSIONS  IN FLIGHT  VERSION  CONF    SEES n1  SEES n2\n",
			"n1*   yes    0         0          1.0      c0ffee  -        ok\n",
		}},
		{"alone", nodesOf(nil, "n1"), 0, []string{"All is well with n1, which is alone"}},
		{"gone", without("gone", "it is gone", false), 1, []string{"Users are served by n1; wrong: 1.\n", "  n2 is gone\n      start it"}},
		{"left", without("gone", "it has left", true), 0, []string{"All is well with n1", "n2    it has left"}},
		{"hangs", without("suspect", "no answer within 1s", false), 1, []string{
			"n2, which is suspect, said nothing: no answer within 1s", "n2    no answer within 1s",
		}},
		{"back", append(nodesOf(nil, "n1", "n2"), admin.NodeRow{Name: "n2", Incarnation: "1", State: "gone"}), 0, []string{"All is well"}},
		{"unknown", two("n2", func(r *admin.NodeReport) { r.Members = r.Members[1:] }), 1, []string{"n2 does not know n1"}},
		{"unseen", two("n2", func(r *admin.NodeReport) { r.Members[0].State = "gone" }), 1, []string{"n2 sees n1 as gone", "gone     -"}},
		{"lacks", two("n2", func(r *admin.NodeReport) { r.Members[0].InSync = false }), 1, []string{"n2 lacks sessions of n1 yet"}},
		{"drains", two("n2", func(r *admin.NodeReport) { r.Draining = true }), 1, []string{"n2 drains", "nodeserver undrain"}},
		{"not ready", two("n1", func(r *admin.NodeReport) { r.Ready = false }), 2, []string{"n1 does not serve users; n2 do.", "n1 is not ready"}},
		{"nobody", nodesOf(at("n1", func(r *admin.NodeReport) { r.Ready, r.Waiting = false, "3 members are expected" }), "n1"), 2, []string{
			"No node serves users.", "n1 waits: 3 members are expected",
		}},
		{"app", two("n2", func(r *admin.NodeReport) {
			r.Apps = []admin.AppRow{{Name: "cart", State: "down", Problem: &admin.Problem{Reason: "no New"}}}
		}), 1, []string{"app cart is not served by n2: no New", "cart  -   down\n"}},
		{"redeployment", two("n2", func(r *admin.NodeReport) {
			r.Apps = []admin.AppRow{{Name: "cart", State: "serving", Version: "2", Problem: &admin.Problem{Reason: "no New"}}}
		}), 1, []string{"app cart was not redeployed at n2, the revision before serves: no New", "cart  -   serving 2\n"}},
		{"provider", two("n2", func(r *admin.NodeReport) {
			r.Providers = []admin.ProviderRow{{Name: "dns", Problem: "no such host"}}
		}), 1, []string{"n2 can't find members by dns: no such host"}},
		{"versions", two("n2", func(r *admin.NodeReport) { r.Version = "1.1" }), 1, []string{"nodes have different versions: 1.0 (n1); 1.1 (n2)"}},
		{"conf", two("n2", func(r *admin.NodeReport) { r.ConfDigest = "bad" }), 1, []string{"different configurations: bad (n2); c0ffee (n1)"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			body, err := json.Marshal(admin.ClusterReply{Schema: "nodeserver.cluster/1", Node: "n1", Nodes: c.rows})
			if err != nil {
				t.Fatal(err)
			}
			token := keys.New()
			address := answers(t, token, http.StatusOK, string(body))
			args := []string{"status", "--admin", address, "--token-file", file(t, "token", token)}
			code, stdout, stderr := nodeserver(t, nil, args...)
			if code != c.code || stderr != "" || !strings.Contains(stdout, "NODE ") {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
			code, stdout, _ = nodeserver(t, nil, append(args, "--json")...)
			var v admin.Verdict
			if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != c.code ||
				v.Code != c.code || v.Schema != "nodeserver.status/1" {
				t.Errorf("--json: exit code %d, %v, %s", code, err, stdout)
			}
		})
	}
	if code, _, stderr := nodeserver(t, nil, "status", "--admin", "127.0.0.1:1"); code != 2 ||
		!strings.Contains(stderr, "no node listens on 127.0.0.1:1") {
		t.Errorf("no node: exit code %d, %s", code, stderr)
	}
}
