package e2e

import (
	"bytes"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// scraped are the metrics of a node or balancer, as Prometheus gets them.
func scraped(t *testing.T, n *node) []byte {
	t.Helper()
	status, body, err := n.ask("/metrics")
	if err != nil || status != http.StatusOK {
		t.Fatalf("%s: metrics: %d, %v", n.name, status, err)
	}
	return body
}

// Metrics of nodes and balancer are named by Prometheus' rules, say how long requests took, and have
// every name that the alert rules and the board ask for.
func TestMetrics(t *testing.T) {
	c := started(t)
	d := door(t, c)
	u := new(user)
	for range 3 {
		u.ok(t, d, "inc")
	}
	var answers [][]byte
	for _, n := range c {
		answers = append(answers, scraped(t, n))
	}
	for _, n := range c {
		if strings.HasSuffix(u.id(), "."+n.name) {
			n.kill() // so that the balancer has something to say of requests that were sent on
		}
	}
	u.ok(t, d, "inc")
	answers = append(answers, scraped(t, d))
	names := string(bytes.Join(answers, nil))
	for _, body := range answers {
		problems, err := promlint.New(bytes.NewReader(body)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "nodeserver_") {
				t.Errorf("%s: %s", p.Metric, p.Text)
			}
		}
	}
	for _, want := range []string{
		`nodeserver_http_request_duration_seconds_count{app="bench",code="2xx",method="GET"} 3`,
		`nodeserver_http_request_duration_seconds_bucket{app="bench",code="2xx",method="GET",le="+Inf"} 3`,
		`nodeserver_replication_lag_seconds{app="bench",member="n2"} 0`,
		`nodeserver_members{state="left"} 0`,
	} {
		if !strings.Contains(names, want) {
			t.Errorf("no %s", want)
		}
	}
	for _, file := range []string{"prometheus/nodeserver.rules.yml", "grafana/nodeserver.json"} {
		text, err := os.ReadFile(filepath.Join("../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		asked := regexp.MustCompile(`\b(nodeserver|process|go)_[a-z_]+`).FindAllString(string(text), -1)
		if len(asked) < 20 {
			t.Errorf("%s asks for %d metrics only", file, len(asked))
		}
		for _, name := range asked {
			if name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count"); !strings.Contains(names, "# TYPE "+name+" ") {
				t.Errorf("%s asks for %s, which nobody serves", file, name)
			}
		}
	}
}

// The alert rules fire for what is wrong, and not for a member that left in order or a node that
// drains, as Prometheus' own tool sees it.
func TestAlertRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "nodeserver.rules.yml"}, {"test", "rules", "nodeserver.rules.test.yml"}} {
		cmd := exec.CommandContext(t.Context(), "promtool", args...)
		cmd.Dir = "../deploy/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v (promtool is in Debian's package prometheus)\n%s", strings.Join(args, " "), err, out)
		}
	}
}
