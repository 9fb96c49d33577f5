package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeserver/nodeserver/server/keys"
)

const membersBody = `{"schema":"nodeserver.members/1","node":"n1","members":[
{"name":"n1","incarnation":"01","state":"alive","ready":true,"draining":false,"channel_address":"127.0.0.1:4001","http_address":"127.0.0.1:8081","apps":["bench","counter"],"version":"(devel)","self":true,"sessions":12,"queue":0,"in_sync":true},
{"name":"n2","incarnation":"02","state":"suspect","ready":true,"draining":true,"channel_address":"127.0.0.1:4002","http_address":"127.0.0.1:8082","apps":[],"version":"(devel)","self":false,"sessions":0,"queue":3,"in_sync":false}],
"apps_down":[{"name":"cart","path":"/cart/","origin":"cart.so","reason":"plugin cart.so does not fit this node:\n  built by go1.99"}],
"providers":[{"name":"mdns","problem":""},{"name":"dns","problem":"look up members at nodes: no such host"}],"waiting":"3 members are expected (membership.expect), here are 2"}
`

// answers serves one answer to whoever brings the token.
func answers(t *testing.T, token string, status int, body string) (address string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestMembers(t *testing.T) {
	token := keys.New()
	address := answers(t, token, http.StatusOK, membersBody)
	conf := file(t, "n1.toml", "[admin]\naddress = \""+address+"\"\ntoken_file = \"token\"\n")
	if err := writeNew(filepath.Join(filepath.Dir(conf), "token"), token+"\n", 0o600); err != nil {
		t.Fatal(err)
	}
	want := `NAME  STATE    READY     CHANNEL         HTTP            APPS           SESSIONS  QUEUE
n1*   alive    yes       127.0.0.1:4001  127.0.0.1:8081  bench,counter  12        0
n2    suspect  draining  127.0.0.1:4002  127.0.0.1:8082  -              0         3

app not served: cart: plugin cart.so does not fit this node:
    built by go1.99

members can't be found by dns: look up members at nodes: no such host

not ready yet: 3 members are expected (membership.expect), here are 2
`
	if code, stdout, stderr := nodeserver(t, nil, "members", "--conf", conf); code != exitGood || stdout != want || stderr != "" {
		t.Errorf("exit code %d, %q, (-want +got)\n%s", code, stderr, cmp.Diff(want, stdout))
	}
	if code, stdout, _ := nodeserver(t, nil, "members", "--conf", conf, "--json"); code != exitGood || stdout != membersBody {
		t.Errorf("--json: exit code %d, %s", code, stdout)
	}
}

func TestMembersSaysWhyNot(t *testing.T) {
	token := keys.New()
	tokenFile := filepath.Join(t.TempDir(), "token")
	if err := writeNew(tokenFile, token+"\n", 0o600); err != nil {
		t.Fatal(err)
	}
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close() // nobody listens there any more
	withToken := []string{"NODESERVER_ADMIN_TOKEN_FILE=" + tokenFile}
	for _, c := range []struct {
		name, address string
		environ       []string
		want          string // ADDR stands for the address
	}{
		{"nobody", closed.Addr().String(), nil, "no node listens on ADDR: is it running, and is that its [admin] address?"},
		{"no token", answers(t, token, http.StatusOK, membersBody), nil, "the node at ADDR wants a token: name its file with --token-file, or the node's configuration with --conf"},
		{"error", answers(t, token, http.StatusInternalServerError, "broken\n"), withToken, "the node at ADDR answers 500 Internal Server Error: broken"},
		{"other program", answers(t, token, http.StatusOK, "<html>"), withToken, `what answers at ADDR is no nodeserver of this version: "<html>"`},
		{"no token file", "127.0.0.1:1", []string{"NODESERVER_ADMIN_TOKEN_FILE=none"}, "admin.token_file: none does not exist: make it with `nodeserver secret new none`, and copy it to each node that is to share it"},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, stdout, stderr := nodeserver(t, c.environ, "members", "--admin", c.address)
			want := "nodeserver: " + strings.ReplaceAll(c.want, "ADDR", c.address) + "\n"
			if code != exitNot || stdout != "" || stderr != want {
				t.Errorf("exit code %d, printed %q and\n%s\nwant\n%s", code, stdout, stderr, want)
			}
		})
	}
}

func TestDialable(t *testing.T) {
	for address, want := range map[string]string{
		":9081": "127.0.0.1:9081", "0.0.0.0:9081": "127.0.0.1:9081", "[::]:9081": "[::1]:9081",
		"10.0.0.1:9081": "10.0.0.1:9081", "node1:9081": "node1:9081",
	} {
		if got := dialable(address); got != want {
			t.Errorf("dialable(%q) = %q, want %q", address, got, want)
		}
	}
}
