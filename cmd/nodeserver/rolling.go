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
	c := &cobra.Command{
		Use:   "rolling-restart --exec 'COMMAND {node}' [--conf FILE | --admin ADDR]",
		Short: "Restart the nodes of a cluster one after the other, without a failed request",
		Long: `Go from node to node: drain it, wait until it can be stopped without a loss, run the
operator's command, which restarts it, wait until all nodes see it ready and in sync,
and go on with the next one. {node} in the command stands for the node's name; a shell
runs it. The command stops at the first trouble, and says how to go on from there. A node
that could not be drained in time gets its users back.

The nodes are all members that the node sees which is asked, by name; it is asked about all
of them, and is restarted in its turn.`,
		Example: `  nodeserver rolling-restart --exec 'ssh {node} systemctl restart nodeserver' --admin n1:9081
  nodeserver rolling-restart --exec 'systemctl restart nodeserver@{node}'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return r.run(c.Context()) },
	}
	r.at.flags(c)
	c.Flags().StringVar(&r.command, "exec", "", "`COMMAND` that restarts a node, {node} in it stands for its name")
	c.Flags().StringVar(&r.from, "from", "", "begin with this `NODE`: those before it are done")
	c.Flags().DurationVar(&r.drain, "drain-timeout", 30*time.Second, "how long a node may take until it can be stopped without a loss")
	c.Flags().DurationVar(&r.ready, "ready-timeout", 2*time.Minute, "how long a node may take to be ready and in sync after the command")
	must(c.MarkFlagRequired("exec"))
	return c
}

// rolling is a rolling restart.
type rolling struct {
	env
	at            node // that is asked
	command, from string
	drain, ready  time.Duration
	names         []string // of all nodes
}

func (r *rolling) run(ctx context.Context) error {
	view, err := r.look(ctx)
	if err != nil {
		return err
	}
	for _, n := range view.Nodes {
		if n.State != gone {
			r.names = append(r.names, n.Name)
		}
	}
	if err := r.well(view); err != nil {
		return fmt.Errorf("not begun: %w", err)
	}
	first := 0
	if r.from != "" {
		if first = slices.Index(r.names, r.from); first < 0 {
			return usagef("--from %s: the nodes are %s", r.from, strings.Join(r.names, ", "))
		}
	}
	begun := time.Now()
	for i, name := range r.names[first:] {
		if err := r.restart(ctx, name, fmt.Sprintf("%s (%d of %d)", name, first+i+1, len(r.names))); err != nil {
			return partf("%w\n%s; when that is mended, go on with the same command and --from %s", err, done(r.names[:first+i]), name)
		}
	}
	put(r.stdout, "all nodes restarted in %v\n", since(begun))
	return nil
}

func done(names []string) string {
	if len(names) == 0 {
		return "no node was restarted"
	}
	return "restarted: " + strings.Join(names, ", ")
}

func since(t time.Time) time.Duration { return time.Since(t).Round(10 * time.Millisecond) }

// gone is the state of a member that is not there any more.
const gone = "gone"

// look is what all nodes say of themselves and of each other.
func (r *rolling) look(ctx context.Context) (view admin.ClusterReply, err error) {
	_, err = r.at.reply(ctx, r.env, "cluster", &view)
	return view, err
}

// well says what is missing for all nodes, and no others, to be there, ready and in sync, as each of
// them sees it.
func (r *rolling) well(view admin.ClusterReply) error {
	missing := slices.Clone(r.names)
	for _, n := range view.Nodes {
		if n.State == gone {
			continue
		}
		if n.Report == nil {
			return fmt.Errorf("%s: %s", n.Name, n.Problem)
		}
		if err := r.sees(n.Report); err != nil {
			return err
		}
		missing = slices.DeleteFunc(missing, func(name string) bool { return name == n.Name })
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s does not see %s", view.Node, strings.Join(missing, ", "))
	}
	return nil
}

// sees says what is missing for a node to see all nodes, and no others, ready and in sync.
func (r *rolling) sees(s *admin.NodeReport) error {
	there := map[string]admin.MemberRow{}
	for _, m := range s.Members {
		if m.State != gone {
			there[m.Name] = m
		}
	}
	for _, name := range r.names {
		switch m, ok := there[name]; {
		case !ok:
			return fmt.Errorf("%s does not see %s", s.Node, name)
		case m.State != "alive":
			return fmt.Errorf("%s sees %s as %s", s.Node, name, m.State)
		case !m.Ready:
			return fmt.Errorf("%s is not ready, as %s sees it", name, s.Node)
		case m.Draining:
			return fmt.Errorf("%s drains, as %s sees it (nodeserver undrain)", name, s.Node)
		case !m.Self && !m.InSync:
			return fmt.Errorf("%s lacks sessions of %s yet", s.Node, name)
		}
		delete(there, name)
	}
	for name := range there {
		return fmt.Errorf("%s sees %s, which was no member when this began", s.Node, name)
	}
	return nil
}

// restart has one node restarted, and tells how it goes.
func (r *rolling) restart(ctx context.Context, name, label string) error {
	began := time.Now()
	before, err := r.incarnation(ctx, name)
	if err != nil {
		return err
	}
	names := []string{name}
	if _, err := r.at.drain(ctx, r.env, http.MethodPost, names); err != nil {
		return err
	}
	if _, err := r.at.drained(ctx, r.env, names, r.drain); err != nil {
		_, back := r.at.drain(context.WithoutCancel(ctx), r.env, http.MethodDelete, names)
		return errors.Join(err, back)
	}
	put(r.stdout, "%s: drained after %v\n", label, since(began))
	began = time.Now()
	command := strings.ReplaceAll(r.command, "{node}", name) // a node's name has no character that means anything to a shell
	c := exec.CommandContext(ctx, "sh", "-c", command)
	c.Stdout, c.Stderr, c.Env = r.stdout, r.stderr, r.environ
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s drains, and the command failed: %s: %w (nodeserver undrain gives it its users back)", name, command, err)
	}
	put(r.stdout, "%s: command done after %v\n", label, since(began))
	began = time.Now()
	if err := r.back(ctx, name, before); err != nil {
		return err
	}
	put(r.stdout, "%s: ready and in sync after %v\n", label, since(began))
	return nil
}

// incarnation is the process that runs now.
func (r *rolling) incarnation(ctx context.Context, name string) (string, error) {
	view, err := r.look(ctx)
	if err != nil {
		return "", err
	}
	for _, n := range view.Nodes {
		if n.Name == name && n.State != gone {
			return n.Incarnation, nil
		}
	}
	return "", fmt.Errorf("%s does not see %s", view.Node, name)
}

// back waits until the node has started anew, and all see it ready and in sync.
func (r *rolling) back(ctx context.Context, name, before string) error {
	ctx, cancel := context.WithTimeout(ctx, r.ready)
	defer cancel()
	var missing error
	for {
		err := r.anew(ctx, name, before)
		if err == nil {
			return nil
		}
		if missing == nil || ctx.Err() == nil {
			missing = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s after %v: %w", name, r.ready, missing)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// anew says what is missing for the node to have started anew, and for all to see it ready
// and in sync.
func (r *rolling) anew(ctx context.Context, name, before string) error {
	view, err := r.look(ctx)
	if err != nil {
		return err
	}
	for _, n := range view.Nodes {
		if n.Name == name && n.Incarnation == before && n.State != gone {
			return errors.New("it is still the process from before the command, which drains")
		}
	}
	return r.well(view)
}
