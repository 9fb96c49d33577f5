package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// HAProxy passes connections on, and says by the PROXY protocol whose they are, to a node and to
// the balancer: both log the user's address.
func TestProxyProtocolOfHAProxy(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatalf("haproxy is missing: apt-get install haproxy, and have /usr/sbin in PATH")
	}
	c := started(t, "http.access_log=common", "http.proxy_protocol=optional")
	d := door(t, c, "http.access_log=common", "http.proxy_protocol=required")
	text := "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n"
	fronts := map[string]*node{} // by their address
	for _, to := range []*node{c[0], d} {
		for _, version := range []string{"send-proxy", "send-proxy-v2"} {
			at := freeAddress(t)
			fronts[at] = to
			text += fmt.Sprintf("listen %s-%s\n bind %s\n server one %s %s\n", to.name, version, at, to.http, version)
		}
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-db", "-f", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 5)}}
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true}}
	asked := map[*node]int{}
	for at, to := range fronts {
		within(t, startLimit, "an answer through "+at, func() error {
			res, err := client.Get("http://" + at + "/bench/raw")
			if err != nil {
				return err
			}
			defer func() { _ = res.Body.Close() }()
			if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK {
				return fmt.Errorf("%s %s %w", res.Status, body, err)
			}
			return nil
		})
		asked[to]++
		within(t, startLimit, "the user's address in the log of "+to.name, func() error {
			lines := 0
			for line := range strings.Lines(to.log.String()) {
				if strings.HasPrefix(line, "127.0.0.5 - - [") && strings.Contains(line, `"GET /bench/raw HTTP/1.1" 200`) {
					lines++
				}
			}
			if lines < asked[to] {
				return errEarly
			}
			return nil
		})
	}
	if res, err := d.client.Get("http://" + d.http + "/bench/raw"); err == nil {
		_ = res.Body.Close()
		t.Errorf("the balancer takes a connection of a trusted proxy that does not say whose it is: %s", res.Status)
	}
}
