package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Traffic is what has gone over the connections that are open among the nodes, or
// between them and Redis, in bytes of TCP payload, both directions. It is as the
// kernel counts it (ss, of iproute2), so it is the same for all kinds.
func (c *Cluster) Traffic(ctx context.Context) (int64, error) {
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

// Pauses are the last pauses of node i's garbage collector, 256 at most.
func (c *Cluster) Pauses(ctx context.Context, i int) ([]time.Duration, error) {
	text, err := fetch(ctx, "http://"+c.admin(i)+"/debug/pprof/heap?debug=1")
	if err != nil {
		return nil, err
	}
	_, rest, ok := strings.Cut(text, "# PauseNs = [")
	list, _, _ := strings.Cut(rest, "]")
	if !ok {
		return nil, fmt.Errorf("no PauseNs in the answer of pprof")
	}
	var pauses []time.Duration
	for word := range strings.FieldsSeq(list) {
		if n, err := strconv.ParseInt(word, 10, 64); err == nil && n > 0 {
			pauses = append(pauses, time.Duration(n))
		}
	}
	return pauses, nil
}
