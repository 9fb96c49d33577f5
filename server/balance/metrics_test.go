package balance_test

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/balance"
)

func (d *door) operator(t *testing.T, path string) (int, string) {
	t.Helper()
	r, _ := http.NewRequestWithContext(t.Context(), "GET", d.admin+path, nil)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

func TestAProviderThatFailsIsInTheMetrics(t *testing.T) {
	providers := []membership.Provider{proposes{"127.0.0.1:1"}, membership.Broken("mdns", membership.ErrNoMulticast)}
	var c cluster
	d := open(t, balance.NewMembers(providers, c.watch, slog.New(slog.DiscardHandler)))
	_, text := d.operator(t, "/metrics")
	for _, want := range []string{
		`nodeserver_balancer_membership_provider_up{provider="mdns"} 0`,
		`nodeserver_balancer_membership_provider_up{provider="static"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
}

func TestMetrics(t *testing.T) {
	a, b := newBackend(t, "a"), newBackend(t, "b")
	source := make(told)
	d := open(t, source)
	if status, _ := d.operator(t, "/readyz"); status != 503 {
		t.Errorf("ready without nodes: %d", status)
	}
	source <- fixedUse(fixed(a, b))
	until(t, "ready", func() bool { status, _ := d.operator(t, "/readyz"); return status == 200 })
	for range 3 {
		d.ask(t, "POST", "", "x.a")
	}
	a.kill()
	until(t, "the failure was noticed", func() bool { return d.log.count("node down") == 1 })
	d.ask(t, "POST", "", "x.a")
	_, text := d.operator(t, "/metrics")
	for _, want := range []string{
		`nodeserver_balancer_requests_total 4`,
		`nodeserver_balancer_answers_total{code="2xx",node="a"} 3`,
		`nodeserver_balancer_answers_total{code="2xx",node="b"} 1`,
		`nodeserver_balancer_node_seconds_count{node="a"} 3`,
		`nodeserver_balancer_moved_requests_total{from="a",to="b"} 1`,
		`nodeserver_balancer_nodes_down_total 1`,
		`nodeserver_balancer_nodes{use="down"} 1`,
		`nodeserver_balancer_nodes{use="full"} 1`,
		`go_goroutines`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	b.kill()
	until(t, "nobody is left", func() bool { return d.log.count("node down") == 2 })
	d.ask(t, "POST", "", "x.a")
	_, text = d.operator(t, "/metrics")
	for _, want := range []string{
		`nodeserver_balancer_answers_total{code="5xx",node=""} 1`,
		`nodeserver_balancer_retries_total{reason="` + balance.RetryDial + `"}`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if status, _ := d.operator(t, "/livez"); status != 200 {
		t.Errorf("alive: %d", status)
	}
}
