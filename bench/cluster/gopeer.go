package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// planGo prepares a cluster of one of the Go peers.
func planGo(c *Cluster, program string, redis bool) error {
	var routes []string
	for i := range c.size {
		routes = append(routes, c.channel(i))
	}
	c.heap, c.redis = c.goHeap, redis
	c.node = func(i int) (*Process, error) {
		args := []string{"-node", c.Name(i), "-http", c.http(i), "-admin", c.admin(i)}
		switch {
		case redis:
			args = append(args, "-redis", address(c.base+portRedis))
		case program == "natskv":
			args = append(args, "-cluster", c.channel(i), "-routes", strings.Join(routes, ","), "-dir", filepath.Join(c.dir, c.Name(i)))
		}
		return start(c.dir, c.Name(i), filepath.Join(c.env.Peers, program), args...)
	}
	if !redis {
		return nil
	}
	return c.startRedis()
}

// startRedis starts a Redis with Debian's defaults: snapshots, no log of writes.
func (c *Cluster) startRedis() error {
	port := c.base + portRedis
	p, err := start(c.dir, "redis", "redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", c.dir,
		"--save", "3600 1 300 100 60 10000", "--loglevel", "warning")
	if err != nil {
		return err
	}
	c.more = append(c.more, p)
	limit := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.DialTimeout("tcp", address(port), time.Second)
		if err == nil {
			return conn.Close()
		}
		if p.ended() || time.Now().After(limit) {
			return fmt.Errorf("redis does not answer: %w", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// goHeap collects garbage and asks how much is in use.
func (c *Cluster) goHeap(ctx context.Context, i int) (int64, error) {
	var bytes int64
	for range 2 { // what has finalizers takes two
		text, err := fetch(ctx, "http://"+c.admin(i)+"/debug/pprof/heap?gc=1&debug=1")
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(text, "# HeapAlloc = ")
		if _, err := fmt.Sscan(rest, &bytes); !ok || err != nil {
			return 0, errors.New("no HeapAlloc in the answer of pprof")
		}
	}
	return bytes, nil
}

// fetch gets a page of an admin address.
func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answers %s", url, response.Status)
	}
	return string(body), err
}
