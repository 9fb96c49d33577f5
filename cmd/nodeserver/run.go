package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/console"
	"github.com/nodeserver/nodeserver/server/tracing"
)

func newRunCommand(e env) *cobra.Command {
	var file string
	var sets []string
	var demo string
	c := &cobra.Command{
		Use:   "run --conf FILE [--set KEY=VALUE]...",
		Short: "Run a node until it is asked to stop",
		Long: `Run a node until SIGTERM or SIGINT, which lets it leave the cluster in order. A
second signal ends it at once, but for a SIGTERM within a second of the first.
At SIGHUP it reads its configuration again, takes over what can be changed while it
runs (nodeserver check marks those keys) and names the rest; at SIGUSR1 it opens
log.file anew.

A value comes from --set, else from a variable like NODESERVER_HTTP_ADDRESS,
else from the file, else it is the default.`,
		Example: "  nodeserver run --conf conf/node1.toml --set log.level=debug",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var running atomic.Pointer[server.Server]
			d, err := newDaemon(e, file, sets, func(cfg config.Config, _ *logging) {
				if s := running.Load(); s != nil {
					s.Reload(cfg)
				}
			})
			if err != nil {
				return err
			}
			defer d.release()
			cfg, origins, log := d.cfg, d.origins, d.log
			if !setsIn(origins, "node", "webapps", "channel") && setsIn(origins, "balance") {
				log.Warn("this conf says nothing of a node, only of a balancer, which nodeserver balance runs", "file", file)
			}
			info := console.Info{Link: e.showLink, Lines: log.lines.last}
			for _, v := range origins.Values {
				info.Values = append(info.Values, console.Value(v))
			}
			if demo != "" {
				k := killer{demo}
				if err := k.enter(cfg.Node.Name); err != nil {
					return fmt.Errorf("--demo: %w", err)
				}
				info.Kill = k.kill
			}
			options, err := traced(c.Context(), e, cfg.Node.Name)
			if err != nil {
				return err
			}
			options = append(options, server.WithConsole(info), server.WithLogLevel(log.level))
			s, err := made(c.Context(), func() (*server.Server, error) { return server.New(cfg, apps(), log.Logger, options...) })
			switch {
			case c.Context().Err() != nil:
				log.Info("asked to stop before the webapps had started")
				return nil
			case err != nil:
				return err
			}
			running.Store(s)
			return withHeapFloor(e, heapFloor, func() error {
				hugePages(c.Context())
				return s.Run(c.Context())
			})
		},
	}
	confFlags(c, &file, &sets)
	c.Flags().StringVar(&demo, "demo", "", "for demonstrations: the console can kill nodes of this machine that name the same `DIR`")
	must(c.MarkFlagRequired("conf"))
	return c
}

// traced are the node's version, and a tracer if the environment asks for one.
func traced(ctx context.Context, e env, name string) ([]server.Option, error) {
	version := readVersion().Version
	tracer, err := tracing.New(ctx, tracing.Process{Service: "nodeserver", Version: version, Node: name}, e.getenv)
	if err != nil || tracer == nil {
		return []server.Option{server.WithVersion(version)}, err
	}
	return []server.Option{server.WithVersion(version), server.WithTracer(tracer)}, nil
}

// made makes the node, or gives up when ctx ends: it runs webapps' code, which may hang. What still
// runs then ends with the process.
func made(ctx context.Context, node func() (*server.Server, error)) (s *server.Server, err error) {
	done := make(chan func() (*server.Server, error), 1)
	go func() {
		s, err := node()
		done <- func() (*server.Server, error) { return s, err }
	}()
	select {
	case result := <-done:
		return result()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// heapFloor is the heap below which collecting garbage is not worth its while.
const heapFloor = 64 << 20

// withHeapFloor runs f with a block of memory that nobody touches: the system
// backs it with nothing, but the collector counts it, and so leaves a small heap
// alone for longer. It saves a tenth of the CPU of a node with few sessions, and is
// nothing beside many. GOGC or GOMEMLIMIT in the environment turn it off.
func withHeapFloor(e env, size int, f func() error) error {
	for _, v := range e.environ {
		if strings.HasPrefix(v, "GOGC=") || strings.HasPrefix(v, "GOMEMLIMIT=") {
			return f()
		}
	}
	floor := make([]byte, size)
	err := f()
	runtime.KeepAlive(floor)
	return err
}

// confFlags adds the flags that say which configuration to use.
func confFlags(c *cobra.Command, file *string, sets *[]string) {
	c.Flags().StringVarP(file, "conf", "c", "", "configuration `FILE`")
	c.Flags().StringArrayVar(sets, "set", nil, "set section.key=value over what the file says; may be repeated")
}

// must is for calls that fail only if this program is written wrong.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
