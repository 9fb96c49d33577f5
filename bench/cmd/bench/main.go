// Command bench measures nodeserver beside what users would pick instead, on the
// same work, in one run, and writes what came out: every single run as JSON to
// results/, tables into docs/BENCHMARKS.md, plots to docs/img/.
//
//	go run ./cmd/bench              the table, in less than 15 minutes
//	go run ./cmd/bench -full        everything, in two to three hours
//	go run ./cmd/bench -smoke       every step for a moment, to see that it works
//	go run ./cmd/bench -report FILE[,FILE...]
//	                                tables and plots again, from earlier results
//
// With -only and -skip it measures parts, and prints their tables instead.
//
// It needs bin/nodeserver and bin/webapps/bench.so (make build webapps); setup.sh
// installs the rest. As root it runs everything in a network namespace of its
// own, where there is nothing but loopback. All processes end with it, whatever
// happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/record"
	"github.com/nodeserver/nodeserver/bench/report"
)

func main() {
	o, err := parseFlags()
	if err == nil {
		err = o.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	full, smoke bool
	setup       bool
	only        string
	rounds      int
	measured    time.Duration
	skip        string
	sizes       string
	repo        string // folder of the repository
	results     string // file to write
	report      string // file to report on instead of measuring
	noDocs      bool
}

func parseFlags() (*options, error) {
	o := &options{}
	flag.BoolVar(&o.full, "full", false, "do everything; takes two to three hours")
	flag.BoolVar(&o.smoke, "smoke", false, "every step for a moment only")
	flag.BoolVar(&o.setup, "setup", false, "install what is missing first (setup.sh)")
	flag.StringVar(&o.only, "only", "", "kinds to measure, comma separated (default: all)")
	flag.StringVar(&o.skip, "skip", "", "parts to leave out, of: table,memory,join,lag,failover,scale")
	flag.StringVar(&o.sizes, "sizes", "", "numbers of sessions for memory and join, comma separated")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds of everything (default: 5)")
	flag.DurationVar(&o.measured, "d", 0, "measured time of each run of the table (default: 1.2s, full: 2s)")
	flag.StringVar(&o.repo, "repo", "..", "folder of the repository")
	flag.StringVar(&o.results, "results", "", "file for the results (default: results/TIME-PROFILE.json)")
	flag.StringVar(&o.report, "report", "", "make tables and plots from these files, comma separated, measure nothing")
	flag.BoolVar(&o.noDocs, "no-docs", false, "print the tables instead of changing docs/")
	flag.Parse()
	var err error
	o.repo, err = filepath.Abs(o.repo)
	if flag.NArg() > 0 {
		err = fmt.Errorf("unknown argument %q", flag.Arg(0))
	}
	return o, err
}

func (o *options) run() error {
	if o.report != "" {
		f, err := loadAll(strings.Split(o.report, ","))
		if err != nil {
			return err
		}
		return o.write(f)
	}
	if !inside() {
		if err := o.prepare(); err != nil {
			return err
		}
		if done, err := enter(); done {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := newRunner(o)
	if err != nil {
		return err
	}
	defer r.close()
	if err = errors.Join(r.measure(ctx), r.save()); err != nil {
		return err
	}
	return o.write(r.file)
}

// loadAll reads results and adds all to the first.
func loadAll(files []string) (*record.File, error) {
	var all *record.File
	for _, name := range files {
		f, err := record.Load(name)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = f
		} else {
			all.Add(f)
		}
	}
	return all, nil
}

// write makes the tables and plots; those of a part are only printed.
func (o *options) write(f *record.File) error {
	if o.noDocs || f.Profile == "smoke" || o.only != "" || o.skip != "" {
		return report.Print(os.Stdout, f)
	}
	docs := filepath.Join(o.repo, "docs")
	if err := report.Plots(filepath.Join(docs, "img"), f); err != nil {
		return err
	}
	return report.Update(filepath.Join(docs, "BENCHMARKS.md"), f)
}

func (o *options) plan() (plan, error) {
	p := quickPlan()
	if o.full {
		p = fullPlan()
	}
	if o.smoke {
		p = smokePlan()
	}
	if o.rounds > 0 {
		p.rounds, p.others = o.rounds, min(o.rounds, p.others)
	}
	if o.measured > 0 {
		p.measure = o.measured
	}
	if o.sizes != "" {
		p.sizes = nil
		for text := range strings.SplitSeq(o.sizes, ",") {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1000 {
				return p, fmt.Errorf("-sizes: %q is not a number from 1000", text)
			}
			p.sizes = append(p.sizes, n)
		}
	}
	if o.only == "" {
		return p, nil
	}
	want := strings.Split(o.only, ",")
	for _, id := range want {
		if _, ok := cluster.Find(id); !ok {
			return p, fmt.Errorf("-only: there is no kind %q", id)
		}
	}
	p.kinds = want
	for _, list := range []*[]string{&p.memory, &p.join, &p.fail, &p.scale} {
		*list = slices.DeleteFunc(slices.Clone(*list), func(id string) bool { return !slices.Contains(want, id) })
	}
	return p, nil
}

func (o *options) skips(part string) bool {
	return slices.Contains(strings.Split(o.skip, ","), part)
}

func (o *options) env() (cluster.Env, error) {
	dir, err := os.MkdirTemp("", "nodeserver-bench-")
	e := cluster.Env{
		Dir: dir, Peers: filepath.Join(o.repo, "bench/bin"), Source: filepath.Join(o.repo, "bench"),
		Nodeserver: filepath.Join(o.repo, "bin/nodeserver"), Webapps: filepath.Join(o.repo, "bin/webapps"),
		Tomcat: "/usr/share/tomcat10",
	}
	if err != nil || !exists(e.Nodeserver, filepath.Join(e.Webapps, "bench.so")) {
		return e, err // what is missing is told of each kind
	}
	// A copy, so that somebody who builds meanwhile changes nothing.
	programs := filepath.Join(dir, "bin")
	err = errors.Join(
		os.MkdirAll(filepath.Join(programs, "webapps"), 0o755),
		copyFile(e.Nodeserver, filepath.Join(programs, "nodeserver")),
		copyFile(filepath.Join(e.Webapps, "bench.so"), filepath.Join(programs, "webapps/bench.so")),
	)
	e.Nodeserver, e.Webapps = filepath.Join(programs, "nodeserver"), filepath.Join(programs, "webapps")
	return e, err
}

func exists(files ...string) bool {
	for _, f := range files {
		if _, err := os.Stat(f); err != nil {
			return false
		}
	}
	return true
}

// copyFile copies a program.
func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// say prints a line of progress.
func say(format string, args ...any) {
	fmt.Printf(time.Now().Format("15:04:05 ")+format+"\n", args...)
}
