package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// variant is how a nodeserver cluster is set up.
type variant struct {
	acks      string
	freshness string
	tls       bool
}

func nodeservers() []Kind {
	return []Kind{
		nodeserver("nodeserver-async", "nodeserver, async", variant{"async", "on", false}),
		nodeserver("nodeserver-all", "nodeserver, acks = all", variant{"all", "on", false}),
		nodeserver("nodeserver-nofresh", "nodeserver, async, freshness off", variant{"async", "off", false}),
		nodeserver("nodeserver-tls", "nodeserver, async, mutual TLS", variant{"async", "on", true}),
		nodeserver("nodeserver-all-tls", "nodeserver, acks = all, mutual TLS", variant{"all", "on", true}),
	}
}

func nodeserver(id, title string, v variant) Kind {
	return Kind{
		ID: id, Title: title, Size: 3, Sessions: true, Replicated: true, Bulk: true, Warm: time.Second,
		Missing: func(e Env) string {
			if text := missingFiles(e.Nodeserver, filepath.Join(e.Webapps, "bench.so")); text != "" {
				return text + " (make build webapps)"
			}
			return ""
		},
		plan: func(c *Cluster) error { return planNodeserver(c, v) },
	}
}

func planNodeserver(c *Cluster, v variant) error {
	secret := ""
	if v.tls {
		secret = filepath.Join(c.dir, "secret")
		if out, err := exec.Command(c.env.Nodeserver, "secret", "new", secret).CombinedOutput(); err != nil {
			return fmt.Errorf("make a secret: %w: %s", err, out)
		}
	}
	c.heap = c.goHeap
	c.conf = map[string]string{"secret": secret}
	c.node = func(i int) (*Process, error) {
		file, err := c.write(c.Name(i)+".toml", c.nodeConf(i, v, secret))
		if err != nil {
			return nil, err
		}
		return start(c.dir, c.Name(i), c.env.Nodeserver, "run", "--conf", file)
	}
	return nil
}

func (c *Cluster) nodeConf(i int, v variant, secret string) string {
	return fmt.Sprintf(`[node]
name = %q
[http]
address = %q
[admin]
address = %q
[channel]
address = %q
[sessions]
freshness = %q
[replication]
acks = %q
[webapps]
dir = %q
`, c.Name(i), c.http(i), c.admin(i), c.channel(i), v.freshness, v.acks, c.env.Webapps) + c.commonConf(secret)
}

// commonConf is what nodes and the balancer share.
func (c *Cluster) commonConf(secret string) string {
	var members []string
	for i := range c.size {
		members = append(members, fmt.Sprintf("%q", c.channel(i)))
	}
	return fmt.Sprintf(`[cluster]
name = "bench"
secret_file = %q
[membership]
providers = ["static"]
static = [%s]
[log]
level = "warn"
`, secret, strings.Join(members, ", "))
}

// OpenDoor starts the balancer and returns its address. It is ended with the
// cluster.
func (c *Cluster) OpenDoor(ctx context.Context) (string, error) {
	door := address(c.base + portDoor)
	file, err := c.write("door.toml", fmt.Sprintf("[balance]\naddress = %q\n", door)+c.commonConf(c.conf["secret"]))
	if err != nil {
		return "", err
	}
	p, err := start(c.dir, "door", c.env.Nodeserver, "balance", "--conf", file)
	if err != nil {
		return "", err
	}
	c.more = append(c.more, p)
	return door, c.answersAt(ctx, door, p)
}

// Metric sums a metric over all nodes and label sets that hold the text.
func (c *Cluster) Metric(ctx context.Context, name, labels string) (sum float64, err error) {
	for i, p := range c.procs {
		if p == nil || p.ended() {
			continue
		}
		text, err := fetch(ctx, "http://"+c.admin(i)+"/metrics")
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			family, set, _ := strings.Cut(key, "{")
			if family != name || !strings.Contains(set, labels) {
				continue
			}
			var v float64
			if _, err := fmt.Sscan(value, &v); err == nil {
				sum += v
			}
		}
	}
	return sum, nil
}
