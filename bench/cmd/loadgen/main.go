// Command loadgen drives servers that are already running, and prints what it saw
// as JSON. It is what cmd/bench uses, for use by hand, beside a profiler say.
//
//	loadgen load -nodes 127.0.0.1:8081,127.0.0.1:8082 -op inc -c 64 -d 10s -pids 11,12
//	loadgen lag -nodes 127.0.0.1:8081,127.0.0.1:8082 -n 1000
//	loadgen fill -nodes 127.0.0.1:8081 -n 100000 -bytes 100
//	loadgen failover -nodes 127.0.0.1:8080 -victim n1 -kill PID
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodeserver/nodeserver/bench/loadgen"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	result, err := run(ctx, os.Args[1:])
	stop()
	if result != nil {
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		err = errors.Join(err, out.Encode(result))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadgen:", err)
		os.Exit(1)
	}
}

// flags are those of all modes.
type flags struct {
	target      loadgen.Target
	op, policy  string
	workers     int
	sessions    int
	rate        float64
	warm, d     time.Duration
	think       time.Duration
	n, bytes    int
	bulk        int
	victim      string
	kill        int
	nodes, pids string
}

func (f *flags) parse(mode string, args []string) error {
	s := flag.NewFlagSet(mode, flag.ContinueOnError)
	s.StringVar(&f.nodes, "nodes", "127.0.0.1:8081", "host:port of each node, comma separated")
	s.StringVar(&f.pids, "pids", "", "server processes whose CPU is counted, comma separated")
	s.StringVar(&f.target.Base, "base", "/bench", "path before /inc and the others")
	s.DurationVar(&f.target.Timeout, "timeout", 20*time.Second, "of a request")
	s.StringVar(&f.op, "op", "inc", "load: raw, inc, get or set")
	s.StringVar(&f.policy, "policy", "sticky", "load: sticky or random")
	s.IntVar(&f.workers, "c", 16, "workers")
	s.IntVar(&f.sessions, "sessions", 1, "sessions of each worker, used in turn")
	s.Float64Var(&f.rate, "rate", 0, "requests per second at most (0: no limit)")
	s.DurationVar(&f.warm, "warm", time.Second, "load: time before counting starts")
	s.DurationVar(&f.d, "d", 10*time.Second, "measured time; failover: half of it before the kill")
	s.DurationVar(&f.think, "think", time.Millisecond, "lag: between a write that has shown and the next")
	s.IntVar(&f.n, "n", 1000, "lag: writes; fill: sessions")
	s.IntVar(&f.bytes, "bytes", 100, "get, set, fill: size of the attribute")
	s.IntVar(&f.bulk, "bulk", 0, "fill: sessions per request to /fill (0: one /set each)")
	s.StringVar(&f.victim, "victim", "", "failover: name of the node that is killed")
	s.IntVar(&f.kill, "kill", 0, "failover: its process")
	if err := s.Parse(args); err != nil {
		return err
	}
	f.target.Nodes = strings.Split(f.nodes, ",")
	for text := range strings.FieldsFuncSeq(f.pids, func(r rune) bool { return r == ',' }) {
		pid, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("-pids: %q is not the id of a process", text)
		}
		f.target.PIDs = append(f.target.PIDs, pid)
	}
	return nil
}

func run(ctx context.Context, args []string) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("say what to do: load, lag, fill or failover")
	}
	var f flags
	if err := f.parse(args[0], args[1:]); err != nil {
		return nil, err
	}
	switch args[0] {
	case "load":
		return loadgen.Load(ctx, loadgen.LoadConfig{
			Target: f.target, Op: f.op, Policy: f.policy, Bytes: f.bytes, Workers: f.workers, Sessions: f.sessions, Rate: f.rate,
			Warm: f.warm, Measure: f.d, Patience: 3 * time.Second,
		})
	case "lag":
		return loadgen.Lag(ctx, loadgen.LagConfig{Target: f.target, Writes: f.n, Think: f.think})
	case "fill":
		return loadgen.Fill(ctx, loadgen.FillConfig{Target: f.target, N: f.n, Bytes: f.bytes, Workers: f.workers, Bulk: f.bulk})
	case "failover":
		if f.kill <= 1 {
			return nil, errors.New("failover needs -kill with the id of a process")
		}
		return loadgen.Failover(ctx, loadgen.FailoverConfig{
			Target: f.target, Workers: f.workers, Sessions: f.sessions, Rate: f.rate, Half: f.d / 2, Victim: f.victim,
			Kill: func() error { return syscall.Kill(f.kill, syscall.SIGKILL) },
		})
	}
	return nil, fmt.Errorf("there is no mode %q: load, lag, fill or failover", args[0])
}
