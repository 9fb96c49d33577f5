package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newRollingRestartCommand(e env) *cobra.Command {
	r := rolling{env: e}
	var admins []string
	c := &cobra.Command{
		Use:   "rolling-restart --exec 'COMMAND {node}' --admin ADDR,ADDR...",
		Short: "Restart the nodes of a cluster one after the other, without a failed request",
		Long: `Go from node to node: drain it, wait until it can be stopped without a loss, run the
operator's command, which restarts it, wait until all nodes see it ready and in sync,
and go on with the next one. {node} in the command stands for the node's name; a shell
runs it. The command stops at the first trouble, and says how to go on from there. A node
that could not be drained in time gets its users back.

The nodes are those at the addresses, each its [admin] address; every member must be
among them.`,
		Example: `  nodeserver rolling-restart --exec 'ssh {node} systemctl restart nodeserver' --admin n1:9081,n2:9081,n3:9081
  nodeserver rolling-restart --exec 'systemctl restart nodeserver@{node}' --admin 127.0.0.1:9081,127.0.0.1:9082`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, a := range admins {
				r.nodes = append(r.nodes, &stop{at: node{file: r.file, admin: a, token: r.token}})
			}
			return r.run(c.Context())
		},
	}
	c.Flags().StringVar(&r.command, "exec", "", "`COMMAND` that restarts a node, {node} in it stands for its name")
	c.Flags().StringSliceVar(&admins, "admin", nil, "admin `ADDR`esses of all nodes, in the order in which to restart them")
	c.Flags().StringVar(&r.from, "from", "", "begin with this `NODE`: those before it are done")
	c.Flags().DurationVar(&r.drain, "drain-timeout", 30*time.Second, "how long a node may take until it can be stopped without a loss")
	c.Flags().DurationVar(&r.ready, "ready-timeout", 2*time.Minute, "how long a node may take to be ready and in sync after the command")
	c.Flags().StringVarP(&r.file, "conf", "c", "", "configuration `FILE` with the token to send")
	c.Flags().StringVar(&r.token, "token-file", "", tokenFileUsage)
	must(c.MarkFlagRequired("exec"))
	must(c.MarkFlagRequired("admin"))
	return c
}

// rolling is a rolling restart.
type rolling struct {
	env
	command, from, file, token string
	drain, ready               time.Duration
	nodes                      []*stop
}

// stop is a node on the way.
type stop struct {
	at          node
	name        string
	incarnation string // of the process that is to be replaced
}

func (r *rolling) run(ctx context.Context) error {
	if err := r.look(ctx); err != nil {
		return err
	}
	first := 0
	if r.from != "" {
		first = slices.IndexFunc(r.nodes, func(s *stop) bool { return s.name == r.from })
		if first < 0 {
			return usagef("--from %s: the nodes are %s", r.from, strings.Join(names(r.nodes), ", "))
		}
	}
	begun := time.Now()
	for i, s := range r.nodes[first:] {
		if err := r.restart(ctx, s, fmt.Sprintf("%s (%d of %d)", s.name, first+i+1, len(r.nodes))); err != nil {
			return partf("%w\n%s; when that is mended, go on with the same command and --from %s", err, done(r.nodes[:first+i]), s.name)
		}
	}
	put(r.stdout, "all nodes restarted in %v\n", since(begun))
	return nil
}

func names(nodes []*stop) (list []string) {
	for _, s := range nodes {
		list = append(list, s.name)
	}
	return list
}

func done(nodes []*stop) string {
	if len(nodes) == 0 {
		return "no node was restarted"
	}
	return "restarted: " + strings.Join(names(nodes), ", ")
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// look finds out which nodes there are. Nothing begins while one is missing, or not well.
func (r *rolling) look(ctx context.Context) error {
	for _, s := range r.nodes {
		reply, _, err := s.at.members(ctx, r.env)
		if err != nil {
			return err
		}
		s.name = reply.Node
		for _, m := range reply.Members {
			if m.Self {
				s.incarnation = m.Incarnation
			}
		}
	}
	known := names(r.nodes)
	for i, name := range known {
		if slices.Contains(known[:i], name) {
			return usagef("--admin names %s twice", name)
		}
	}
	for _, s := range r.nodes {
		if err := r.sees(ctx, s, known); err != nil {
			return fmt.Errorf("not begun: %w", err)
		}
	}
	return nil
}

// sees says what is missing for a node to see all of these, and no others, ready and in sync.
func (r *rolling) sees(ctx context.Context, s *stop, all []string) error {
	reply, _, err := s.at.members(ctx, r.env)
	if err != nil {
		return err
	}
	there := map[string]admin.MemberRow{}
	for _, m := range reply.Members {
		if m.State != "gone" {
			there[m.Name] = m
		}
	}
	for _, name := range all {
		switch m, ok := there[name]; {
		case !ok:
			return fmt.Errorf("%s does not see %s", s.name, name)
		case m.State != "alive":
			return fmt.Errorf("%s sees %s as %s", s.name, name, m.State)
		case !m.Ready:
			return fmt.Errorf("%s is not ready, as %s sees it", name, s.name)
		case m.Draining:
			return fmt.Errorf("%s drains, as %s sees it (nodeserver undrain)", name, s.name)
		case !m.Self && !m.InSync:
			return fmt.Errorf("%s lacks sessions of %s yet", s.name, name)
		}
		delete(there, name)
	}
	for name := range there {
		return fmt.Errorf("%s is a member, too: give its address to --admin", name)
	}
	return nil
}

// restart has one node restarted, and tells how it goes.
func (r *rolling) restart(ctx context.Context, s *stop, label string) error {
	began := time.Now()
	if _, err := s.at.drain(ctx, r.env, http.MethodPost, []string{s.name}); err != nil {
		return err
	}
	if _, err := s.at.drained(ctx, r.env, []string{s.name}, r.drain); err != nil {
		_, back := s.at.drain(context.WithoutCancel(ctx), r.env, http.MethodDelete, []string{s.name})
		return errors.Join(err, back)
	}
	put(r.stdout, "%s: drained after %v\n", label, since(began))
	began = time.Now()
	command := strings.ReplaceAll(r.command, "{node}", s.name) // a node's name has no character that means anything to a shell
	c := exec.CommandContext(ctx, "sh", "-c", command)
	c.Stdout, c.Stderr, c.Env = r.stdout, r.stderr, r.environ
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s drains, and the command failed: %s: %w (nodeserver undrain gives it its users back)", s.name, command, err)
	}
	put(r.stdout, "%s: command done after %v\n", label, since(began))
	began = time.Now()
	if err := r.back(ctx, s); err != nil {
		return err
	}
	put(r.stdout, "%s: ready and in sync after %v\n", label, since(began))
	return nil
}

// back waits until the node has started anew, and all see it ready and in sync.
func (r *rolling) back(ctx context.Context, s *stop) error {
	ctx, cancel := context.WithTimeout(ctx, r.ready)
	defer cancel()
	for {
		err := r.anew(ctx, s)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s after %v: %w", s.name, r.ready, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// anew says what is missing for the node to have started anew, and for all to see it ready
// and in sync.
func (r *rolling) anew(ctx context.Context, s *stop) error {
	reply, _, err := s.at.members(ctx, r.env)
	if err != nil {
		return err
	}
	for _, m := range reply.Members {
		if m.Self && m.Incarnation == s.incarnation {
			return errors.New("it is still the process from before the command, which drains")
		}
	}
	for _, o := range r.nodes {
		if err := r.sees(ctx, o, names(r.nodes)); err != nil {
			return err
		}
	}
	return nil
}
