package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newDrainCommand(e env) *cobra.Command {
	var to node
	var wait, asJSON bool
	var limit time.Duration
	c := &cobra.Command{
		Use:   "drain [NODE] [--wait] [--timeout 30s] [--conf FILE | --admin ADDR]",
		Short: "Have a node's users go to other nodes",
		Long: `Have the users of a running node go to other nodes: /readyz answers 503, front
doors send it no new users, and those it has move with their next request. Requests
in flight end; the node stays a member and answers what reaches it, until it stops or
"nodeserver undrain" takes its users back.

With --wait, return when no request is in flight and all members have what the node
has: it can be stopped without a loss. Exit code 3 if that is not so in --timeout.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			reply, err := to.drain(c.Context(), e, http.MethodPost, args)
			if err != nil {
				return err
			}
			if wait {
				reply, err = to.drained(c.Context(), e, args, limit)
			}
			return printDrain(e, reply, err, asJSON)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&wait, "wait", false, "return when the node can be stopped without a loss")
	c.Flags().DurationVar(&limit, "timeout", 30*time.Second, "how long --wait waits")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newUndrainCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "undrain [NODE] [--conf FILE | --admin ADDR]",
		Short: "Have users come back to a node that was drained",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			reply, err := to.drain(c.Context(), e, http.MethodDelete, args)
			if err != nil {
				return err
			}
			return printDrain(e, reply, nil, asJSON)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// drain asks the node whether it drains, or has it do so (POST) or not (DELETE). A name
// must be the node's.
func (n *node) drain(ctx context.Context, e env, method string, name []string) (reply admin.DrainReply, err error) {
	query := ""
	if len(name) > 0 {
		query = url.Values{"node": name}.Encode()
	}
	_, err = n.call(ctx, e, method, "drain", query, &reply)
	return reply, err
}

// drained waits until the node can be stopped without a loss. A partError says that it was
// not so in time.
func (n *node) drained(ctx context.Context, e env, name []string, limit time.Duration) (reply admin.DrainReply, err error) {
	over := time.NewTimer(limit)
	defer over.Stop()
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		if reply, err = n.drain(ctx, e, http.MethodGet, name); err != nil {
			return reply, err
		}
		switch {
		case !reply.Draining:
			return reply, fmt.Errorf("%s does not drain any more: somebody has called undrain, or it has started anew", reply.Node)
		case left(reply) == "":
			return reply, nil
		case reply.Unshared > 0: // waiting does not help
			return reply, partf("%s: %s", reply.Node, left(reply))
		}
		select {
		case <-ctx.Done():
			return reply, ctx.Err()
		case <-over.C:
			return reply, partf("%s after %v: %s", reply.Node, limit, left(reply))
		case <-t.C:
		}
	}
}

// left is what would be lost, or cut off, if the node stopped now; empty: nothing.
func left(d admin.DrainReply) string {
	var list []string
	if d.InFlight > 0 {
		list = append(list, fmt.Sprintf("%d requests in flight", d.InFlight))
	}
	switch {
	case d.Changes > 0:
		list = append(list, fmt.Sprintf("%d changes that not all members have confirmed", d.Changes))
	case !d.HandedOver:
		list = append(list, "members have not yet compared all sessions")
	}
	if d.Unshared > 0 {
		list = append(list, fmt.Sprintf("%d sessions that no other node has, since none hosts their app", d.Unshared))
	}
	return strings.Join(list, ", ")
}

// printDrain prints how far the node is.
func printDrain(e env, d admin.DrainReply, err error, asJSON bool) error {
	switch state := "serves"; {
	case d.Node == "":
		return err
	case asJSON:
		if wrong := json.NewEncoder(e.stdout).Encode(d); wrong != nil {
			return wrong
		}
	case err == nil:
		if d.Draining {
			state = "drains"
		}
		text := left(d)
		switch {
		case d.Draining && text == "":
			text = ": no request in flight, all members have its sessions"
		case d.Draining:
			text = ": " + text
		default:
			text = ""
		}
		put(e.stdout, "%s %s%s\n", d.Node, state, text)
	}
	return err
}
