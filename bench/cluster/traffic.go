package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Traffic is what has gone over the connections that are open among the nodes, or
// between them and Redis, in bytes of TCP payload, both directions. It is as the
// kernel counts it (ss, of iproute2); Redis counts for itself, since the kernel
// forgets a connection that was closed, and some clients close many.
func (c *Cluster) Traffic(ctx context.Context) (int64, error) {
	if c.redis {
		return redisTraffic(ctx, address(c.base+portRedis))
	}
	from, to := c.base+portChannel, c.base+portRedis
	filter := fmt.Sprintf("( dport >= %d and dport <= %d ) or ( sport >= %d and sport <= %d )", from, to, from, to)
	out, err := exec.CommandContext(ctx, "ss", "-tinH", "state", "established", filter).Output()
	if err != nil {
		return 0, fmt.Errorf("ask ss for the traffic: %w", err)
	}
	var sum int64
	for word := range strings.FieldsSeq(string(out)) {
		if text, ok := strings.CutPrefix(word, "bytes_sent:"); ok {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("ss says %q: %w", word, err)
			}
			sum += n
		}
	}
	return sum, nil
}

// redisTraffic asks a Redis how much has gone in and out.
func redisTraffic(ctx context.Context, host string) (sum int64, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return 0, err
	}
	if _, err := io.WriteString(conn, "INFO stats\r\nQUIT\r\n"); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(conn)
	if err != nil {
		return 0, err
	}
	found := 0
	for line := range strings.FieldsSeq(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "total_net_input_bytes" && name != "total_net_output_bytes" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("redis says %q: %w", line, err)
		}
		sum += n
		found++
	}
	if found != 2 {
		return 0, fmt.Errorf("redis says %.200q: no total_net_input_bytes and total_net_output_bytes", text)
	}
	return sum, nil
}

// Collect makes the garbage collector of node i run.
func (c *Cluster) Collect(ctx context.Context, i int) error {
	_, err := c.heap(ctx, i)
	return err
}

// Pauses are those of node i's garbage collector, of the cycles after the first
// so many: the last 256 at most, the latest last. cycles is how many there were.
func (c *Cluster) Pauses(ctx context.Context, i, after int) (pauses []time.Duration, cycles int, err error) {
	text, err := fetch(ctx, "http://"+c.admin(i)+"/debug/pprof/heap?debug=1")
	if err != nil {
		return nil, 0, err
	}
	_, rest, ok := strings.Cut(text, "# PauseNs = [")
	list, _, _ := strings.Cut(rest, "]")
	_, count, _ := strings.Cut(text, "# NumGC = ")
	ring := strings.Fields(list)
	if _, err := fmt.Sscan(count, &cycles); err != nil || !ok || len(ring) == 0 {
		return nil, 0, errors.New("no PauseNs and NumGC in the answer of pprof")
	}
	for k := max(after, cycles-len(ring)); k < cycles; k++ {
		n, err := strconv.ParseInt(ring[k%len(ring)], 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("pause %q: %w", ring[k%len(ring)], err)
		}
		pauses = append(pauses, time.Duration(n))
	}
	return pauses, cycles, nil
}
