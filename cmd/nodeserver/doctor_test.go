package main

import (
	"encoding/json"
	"net"
	"slices"
	"strings"
	"testing"
)

func TestDoctorNamesWhatFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	conf := file(t, "n1.toml", `[node]
name = "n1"
[http]
address = "`+address+`"
[channel]
address = "127.0.0.1:0"
[admin]
address = "192.0.2.7:9081"
token_file = "token"
[membership]
providers = ["static"]
static = ["127.0.0.1:1"]
[webapps]
dir = "none"
`)
	junk := file(t, "junk.so", "no plugin")
	code, stdout, stderr := nodeserver(t, nil, "doctor", "--conf", conf, junk)
	if code != exitNot || stderr != "" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	lines := strings.Split(stdout, "\n")
	for _, want := range []string{
		"ok    conf: " + conf + ": node n1 of cluster nodeserver",
		"fail  http.address: " + address + " is taken by another program: find it with ss -ltnp, or choose another address",
		"ok    channel.address: 127.0.0.1:0 is free",
		"fail  admin.address: 192.0.2.7:9081 is no address of this machine: see ip address",
		"ok    membership static: 1 addresses: 127.0.0.1:1",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, stdout)
		}
	}
	for _, want := range []string{"fail  plugin: check plugin " + junk, "fail  webapps.dir: look for webapps in "} {
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, want) }) {
			t.Errorf("no line begins with %q in\n%s", want, stdout)
		}
	}
}

func TestDoctorAsJSON(t *testing.T) {
	conf := file(t, "n1.toml", "[http]\nadress = \"127.0.0.1:1\"\n")
	code, stdout, _ := nodeserver(t, nil, "doctor", "--conf", conf, "--json")
	var reply doctorReply
	if err := json.Unmarshal([]byte(stdout), &reply); err != nil || code != exitNot || reply.Schema != "nodeserver.doctor/1" {
		t.Fatalf("exit code %d, %v, %s", code, err, stdout)
	}
	last := reply.Findings[len(reply.Findings)-1]
	if last.Level != "fail" || last.What != "conf" || !strings.Contains(last.Text, "n1.toml:2") {
		t.Errorf("%+v", last)
	}
}
