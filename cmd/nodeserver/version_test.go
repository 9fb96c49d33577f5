package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/channel" //nolint:depguard // to compare with, in this test only
)

func TestVersion(t *testing.T) {
	if wire != channel.WireMax {
		t.Errorf("wire is %d, the channel speaks %d", wire, channel.WireMax)
	}
	_, stdout, _ := nodeserver(t, nil, "version")
	if !strings.HasPrefix(stdout, "nodeserver ") ||
		!strings.Contains(stdout, runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH+", cgo: ") ||
		!strings.HasSuffix(stdout, "\nwire version 1\n") {
		t.Errorf("got %q", stdout)
	}
	_, stdout, _ = nodeserver(t, nil, "version", "--json")
	var v version
	if err := json.Unmarshal(
		[]byte(stdout),
		&v,
	); err != nil || v.Schema != "nodeserver.version/1" || v.Go != runtime.Version() ||
		v.Wire != wire {
		t.Errorf("--json: got %q, %v", stdout, err)
	}
}
