package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/keys"
)

// Each thing that may be wrong is told with what to do, and decides the exit code.
func TestStatus(t *testing.T) {
	row := func(name string, change func(*admin.MemberRow)) admin.MemberRow {
		m := admin.MemberRow{Name: name, State: "alive", Ready: true, InSync: true, Self: name == "n1"}
		if change != nil {
			change(&m)
		}
		return m
	}
	all := []admin.MemberRow{row("n1", nil), row("n2", nil)}
	with := func(name string, change func(*admin.MemberRow)) []admin.MemberRow {
		rows := append([]admin.MemberRow{}, all...)
		for i := range rows {
			if rows[i].Name == name {
				change(&rows[i])
			}
		}
		return rows
	}
	for _, c := range []struct {
		what  string
		reply admin.MembersReply
		code  int
		want  []string
	}{
		{"all well", admin.MembersReply{Members: all}, 0, []string{"All is well: 2 members serve users, none lacks a session.\n"}},
		{"alone", admin.MembersReply{Members: all[:1]}, 0, []string{"All is well with n1, which is alone"}},
		{
			"gone",
			admin.MembersReply{Members: with("n2", func(m *admin.MemberRow) { m.State = "gone" })},
			1,
			[]string{"Users are served by n1; wrong: 1.\n", "  n2 is gone\n      start it"},
		},
		{
			"suspect",
			admin.MembersReply{Members: with("n2", func(m *admin.MemberRow) { m.State = "suspect" })},
			1,
			[]string{"n2 is suspect: it does not answer n1"},
		},
		{
			"drains",
			admin.MembersReply{Members: with("n2", func(m *admin.MemberRow) { m.Draining = true })},
			1,
			[]string{"nodeserver undrain n2"},
		},
		{
			"lacks",
			admin.MembersReply{Members: with("n2", func(m *admin.MemberRow) { m.InSync = false })},
			1,
			[]string{"n1 lacks sessions of n2 yet"},
		},
		{
			"not ready",
			admin.MembersReply{Members: with("n1", func(m *admin.MemberRow) { m.Ready = false })},
			2,
			[]string{"n1 does not serve users; n2 do.", "n1 is not ready"},
		},
		{
			"nobody",
			admin.MembersReply{Members: with("n1", func(m *admin.MemberRow) { m.Ready = false })[:1], Waiting: "3 members are expected"},
			2,
			[]string{"No node serves users.", "n1 waits: 3 members are expected"},
		},
		{
			"app",
			admin.MembersReply{Members: all, Down: []admin.DownRow{{Name: "cart", Reason: "no New"}}},
			1,
			[]string{"app cart is not served by n1: no New"},
		},
		{
			"provider",
			admin.MembersReply{Members: all, Providers: []admin.ProviderRow{{Name: "dns", Problem: "no such host"}}},
			1,
			[]string{"members can't be found by dns: no such host"},
		},
	} {
		t.Run(c.what, func(t *testing.T) {
			c.reply.Schema, c.reply.Node = "nodeserver.members/1", "n1"
			body, err := json.Marshal(c.reply)
			if err != nil {
				t.Fatal(err)
			}
			token := keys.New()
			address := answers(t, token, http.StatusOK, string(body))
			args := []string{"status", "--admin", address, "--token-file", file(t, "token", token)}
			code, stdout, stderr := nodeserver(t, nil, args...)
			if code != c.code || stderr != "" || !strings.Contains(stdout, "NAME ") {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.code, stdout, stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
			code, stdout, _ = nodeserver(t, nil, append(args, "--json")...)
			var v verdict
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
