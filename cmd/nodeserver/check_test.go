package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
)

const wrongFile = `[node]
name = "n1"
[channel]
hartbeat = "250ms"
heartbeat = "soon"
`

func TestCheckWrongFile(t *testing.T) {
	wrong := file(t, "node1.toml", wrongFile)
	want := wrong + ":4:1: channel.hartbeat: unknown key (did you mean channel.heartbeat?)\n" +
		wrong + ":5:13: channel.heartbeat: \"soon\" is not a duration (like 250ms)\n"
	for _, verb := range []string{"check", "run"} {
		code, stdout, stderr := nodeserver(t, nil, verb, "--conf", wrong)
		if code != exitNot || stdout != "" || stderr != want {
			t.Errorf("%s: exit code %d, printed %q and\n%s\nwant\n%s", verb, code, stdout, stderr, want)
		}
	}
	code, stdout, stderr := nodeserver(t, nil, "check", "--json", "--conf", wrong)
	var reply checkReply
	if err := json.Unmarshal([]byte(stdout), &reply); err != nil || code != exitNot || stderr != "" {
		t.Fatalf("--json: exit code %d, %v, %q", code, err, stderr)
	}
	first := checkLine{Place: wrong + ":4:1", Key: "channel.hartbeat", Text: "unknown key (did you mean channel.heartbeat?)"}
	if reply.Good || len(reply.Problems) != 2 || reply.Problems[0] != first {
		t.Errorf("--json: got %+v", reply)
	}
}

func TestCheckTellsOrigins(t *testing.T) {
	good := file(
		t,
		"node1.toml",
		"[node]\nname = \"n1\"\n[channel]\nheartbeat = \"100ms\"\n[cluster]\nsecret_file = \"secret\"\n[[app]]\nname = \"cart\"\nacks = \"one\"\n",
	)
	environ := []string{"NODESERVER_LOG_LEVEL=debug", "NODESERVER_MEMBERSHIP_DNS_NAME=nodes.example"}
	code, stdout, stderr := nodeserver(t, environ, "check", "--conf", good, "--set", "http.address=127.0.0.1:0")
	if want := "warning: NODESERVER_MEMBERSHIP_DNS_NAME: membership.dns_name: has no effect without \"dns\" in membership.providers\n"; code != exitGood ||
		stderr != want {
		t.Errorf("exit code %d, standard error %q", code, stderr)
	}
	lines := map[string]bool{}
	section := ""
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "[") {
			section = strings.TrimSpace(line)
		}
		lines[section+" "+strings.Join(strings.Fields(line), " ")] = true
	}
	for _, want := range []string{
		`[node] name = "n1" # ` + good + `:2`,
		`[channel] heartbeat = "100ms" # ` + good + `:4`,
		`[channel] suspect_after = "1s" # default`,
		`[cluster] secret_file = "` + filepath.Join(filepath.Dir(good), "secret") + `" # ` + good + `:6`,
		`[log] level = "debug" # NODESERVER_LOG_LEVEL; changed by SIGHUP`,
		`[http] address = "127.0.0.1:0" # --set`,
		`[app.cart] acks = "one" # ` + good + `:9`,
	} {
		if !lines[want] {
			t.Errorf("no line %q in\n%s", want, stdout)
		}
	}
	code, stdout, _ = nodeserver(t, environ, "check", "--json", "--conf", good)
	var reply checkReply
	if err := json.Unmarshal(
		[]byte(stdout),
		&reply,
	); err != nil || code != exitGood || !reply.Good || len(reply.Warnings) != 1 ||
		len(reply.Values) < 40 {
		t.Errorf("--json: exit code %d, %v, %+v", code, err, reply)
	}
}
