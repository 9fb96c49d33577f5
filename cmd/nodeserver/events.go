package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/events"
)

func newEventsCommand(e env) *cobra.Command {
	var to node
	var all, follow, asJSON bool
	c := &cobra.Command{
		Use:   "events [--all] [--follow] [--conf FILE | --admin ADDR]",
		Short: "Print what has happened at a node, or at all nodes in one time line",
		Long: `Print what has happened at a running node, one sentence a line: members that came and
went, readiness, webapps, repairs, changes by operators. With --all, of all nodes, by time;
with --follow, go on with what happens, until the command is ended.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if follow {
				return to.followEvents(c.Context(), e, all, asJSON)
			}
			var reply admin.EventsReply
			body, err := to.call(c.Context(), e, http.MethodGet, "events", fmt.Sprintf("all=%t", all), &reply)
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			for _, v := range reply.Events {
				printEvent(e.stdout, v)
			}
			for _, s := range reply.Silent {
				put(e.stderr, "%s: %s\n", s.Name, s.Problem)
			}
			if len(reply.Silent) > 0 {
				return exitError(exitPart)
			}
			return nil
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&all, "all", false, "of all nodes")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON; with --follow, a line for each event")
	return c
}

// printEvent prints a line: when, where, how bad, what.
func printEvent(w io.Writer, v events.Event) {
	times := ""
	if v.Count > 1 {
		times = fmt.Sprintf(" (%d times since %s)", v.Count, v.First.Local().Format(time.TimeOnly))
	}
	put(w, "%s  %-8s %-5s  %s%s\n", v.Time.Local().Format("2006-01-02 15:04:05.000"), v.Node, v.Level, v.Text, times)
}

// followEvents prints events as they come. A node that was lost is asked again, from where its
// answer broke off.
func (n *node) followEvents(ctx context.Context, e env, all, asJSON bool) error {
	position, asked := "", false
	for {
		err := n.stream(ctx, e, all, &position, func(data []byte) error {
			asked = true
			var v events.Event
			if err := json.Unmarshal(data, &v); err != nil {
				return fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", n.admin, data)
			}
			if asJSON {
				_, err := fmt.Fprintf(e.stdout, "%s\n", data)
				return err
			}
			printEvent(e.stdout, v)
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the command was ended
		case !asked:
			return err
		}
		put(e.stderr, "nodeserver: %v; asking again\n", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

var errBroken = errors.New("the node's answer broke off")

// stream hands over the events after the position, and moves it on, until the answer ends.
func (n *node) stream(ctx context.Context, e env, all bool, position *string, to func(data []byte) error) error {
	request, err := n.request(ctx, e, http.MethodGet, fmt.Sprintf("/api/v1/events?all=%t", all), http.NoBody)
	if err != nil {
		return err
	}
	request.Header.Set("Accept", "text/event-stream")
	if *position != "" {
		request.Header.Set("Last-Event-ID", *position)
	}
	response, err := n.client().Do(request)
	if err != nil {
		return n.silent(err)
	}
	defer func() { _ = response.Body.Close() }() // was only read
	if response.StatusCode != http.StatusOK {
		_, err = n.body(response)
		return err
	}
	lines, id := bufio.NewScanner(response.Body), ""
	for lines.Scan() {
		line := lines.Text()
		if text, ok := strings.CutPrefix(line, "id: "); ok {
			id = text
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := to([]byte(data)); err != nil {
				return err
			}
			*position = id
		}
	}
	return errBroken
}
