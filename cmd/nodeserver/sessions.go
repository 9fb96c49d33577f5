package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
)

func newSessionsCommand(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "sessions",
		Short: "List the sessions of users, look at one, see where it is, and end sessions",
		Long: `List the sessions of users, look at one, see where it is, and end sessions. The id of a
session is the one that the log has as sid. It is not that of the user's cookie, which no
node knows.`,
	}
	c.AddCommand(newSessionsListCommand(e), newSessionsShowCommand(e), newSessionsWhereCommand(e), newSessionsExpireCommand(e))
	return c
}

func newSessionsListCommand(e env) *cobra.Command {
	var to node
	var asJSON, used bool
	var app, principal, id, after string
	var idle time.Duration
	var limit int
	c := &cobra.Command{
		Use:   "list [--app NAME] [--principal USER] [--id PREFIX] [--idle 30m] [--conf FILE | --admin ADDR]",
		Short: "Print sessions, newest first, in pages",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			q := url.Values{}
			for key, value := range map[string]string{"app": app, "principal": principal, "id": id, "after": after} {
				if value != "" {
					q.Set(key, value)
				}
			}
			q.Set("limit", strconv.Itoa(limit))
			q.Set("idle", idle.String())
			if used {
				q.Set("order", "used")
			}
			var reply admin.SessionsReply
			body, err := to.call(c.Context(), e, http.MethodGet, "sessions", q.Encode(), &reply)
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			return printSessions(e.stdout, reply, time.Now())
		},
	}
	to.flags(c)
	f := c.Flags()
	f.StringVar(&app, "app", "", "of this app")
	f.StringVar(&principal, "principal", "", "of this user")
	f.StringVar(&id, "id", "", "whose id begins so")
	f.DurationVar(&idle, "idle", 0, "not used for as long")
	f.BoolVar(&used, "used", false, "those used last first")
	f.IntVar(&limit, "limit", 50, "how many, 1 to 1000")
	f.StringVar(&after, "after", "", "the next page: the cursor of the page before")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printSessions(w io.Writer, reply admin.SessionsReply, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "ID\tAPP\tUSER\tAGE\tIDLE\tATTRIBUTES\tBYTES\n") // what fails comes out of Flush
	for _, s := range reply.Sessions {
		put(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", s.ID, s.App, or(visible(s.Principal)), ago(now, s.Created), ago(now, s.LastAccess),
			s.Attributes, s.Bytes)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	put(w, "\n%d of %d at %s\n", len(reply.Sessions), reply.Total, reply.Node)
	if reply.Cursor != "" {
		put(w, "next page: --after %s\n", reply.Cursor)
	}
	return nil
}

func ago(now, at time.Time) string { return max(0, now.Sub(at)).Round(time.Second).String() }

// visible shows a text that users have made up, with nothing that a terminal would obey.
func visible(text string) string {
	if quoted := strconv.Quote(text); quoted[1:len(quoted)-1] != text {
		return quoted
	}
	return text
}

func newSessionsShowCommand(e env) *cobra.Command {
	var to node
	var asJSON, values bool
	c := &cobra.Command{
		Use:   "show ID [--values] [--conf FILE | --admin ADDR]",
		Short: "Print one session: its user, its age, its attributes by name and type",
		Long: `Print one session: its user, its age, its attributes by name and type. With --values,
also their values: that takes the role operator, and is written to the audit log.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			method, path := http.MethodGet, "sessions/"+url.PathEscape(args[0])
			if values {
				method, path = http.MethodPost, path+"/values"
			}
			var reply admin.SessionReply
			body, err := to.schema(c.Context(), e, method, path, http.NoBody, "session", &reply)
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			return printSession(e.stdout, reply, time.Now())
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&values, "values", false, "also the values")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printSession(w io.Writer, reply admin.SessionReply, now time.Time) error {
	t, s := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), reply.Session
	put(t, "id\t%s\napp\t%s\nuser\t%s\n", s.ID, s.App, or(visible(s.Principal)))
	put(t, "created\t%s, %s ago\n", s.Created.Local().Format(time.DateTime), ago(now, s.Created))
	put(t, "used\t%s, %s ago\n", s.LastAccess.Local().Format(time.DateTime), ago(now, s.LastAccess))
	limit := "its lifetime ends"
	if s.MaxInactive > 0 {
		limit = "unused for " + time.Duration(s.MaxInactive*float64(time.Second)).String()
	}
	put(t, "ends when\t%s\nbytes\t%d\n\n", limit, s.Bytes)
	if err := t.Flush(); err != nil {
		return err
	}
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "ATTRIBUTE\tTYPE\tBYTES\tVALUE\n")
	for _, a := range reply.Names {
		put(t, "%s\t%s\t%d\t%s\n", visible(a.Name), a.Type, a.Bytes, or(a.Value))
	}
	return t.Flush()
}

func newSessionsWhereCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "where ID [--conf FILE | --admin ADDR]",
		Short: "Print what each node has of a session, and whether it is the same",
		Long: `Print what each node has of a session: its newest write, and a sum that is equal where all
attributes are. Exit code 1 if copies differ, 3 if a node does not answer.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			var reply admin.WhereReply
			path := "sessions/" + url.PathEscape(args[0]) + "/where"
			body, err := to.schema(c.Context(), e, http.MethodGet, path, http.NoBody, "where", &reply)
			switch {
			case err != nil:
				return err
			case asJSON:
				err = printed(e, body, nil)
			default:
				err = printWhere(e.stdout, reply)
			}
			if err != nil {
				return err
			}
			return agree(reply)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// agree is the exit code of where.
func agree(reply admin.WhereReply) error {
	if !reply.Same {
		return exitError(exitNot)
	}
	for _, r := range reply.Copies {
		if r.Problem != "" {
			return exitError(exitPart)
		}
	}
	return nil
}

func printWhere(w io.Writer, reply admin.WhereReply) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "NODE\tAPP\tATTRIBUTES\tNEWEST WRITE\tSUM\n")
	here := 0
	for _, r := range reply.Copies {
		switch {
		case r.Problem != "":
			put(t, "%s\t%s\n", r.Node, r.Problem)
		case !r.Here:
			put(t, "%s\tnot here\n", r.Node)
		default:
			here++
			put(t, "%s\t%s\t%d\t%s\t%s\n", r.Node, r.App, len(r.Attributes), r.Stamp, r.Sum)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	verdict := "the same at all nodes that have answered"
	if !reply.Same {
		verdict = "the copies differ: changes may be on their way; ask again"
	} else if here == 0 {
		verdict = "at none of the nodes that have answered"
	}
	put(w, "\n%s\n", verdict)
	return nil
}

func newSessionsExpireCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	var app, principal string
	var idle time.Duration
	c := &cobra.Command{
		Use:   "expire ID | --principal USER | --idle 30m --app NAME",
		Short: "End one session, all of a user (log them out everywhere), or those not used for long",
		Long: `End sessions on all nodes, for good: one, all of a user, or those of an app that were not
used for as long. The command returns when the other nodes know.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			q := admin.ExpireRequest{App: app, Principal: principal, Idle: idle.Seconds()}
			if len(args) > 0 {
				q.ID = args[0]
			}
			text, err := json.Marshal(q)
			if err != nil {
				return err
			}
			var reply admin.ExpireReply
			body, err := to.schema(c.Context(), e, http.MethodPost, "expire", bytes.NewReader(text), "expire", &reply)
			if err != nil || asJSON {
				return printed(e, body, err)
			}
			put(e.stdout, "%d sessions have ended\n", reply.Expired)
			return nil
		},
	}
	to.flags(c)
	c.Flags().StringVar(&app, "app", "", "of this app only")
	c.Flags().StringVar(&principal, "principal", "", "all of this user")
	c.Flags().DurationVar(&idle, "idle", 0, "those not used for as long")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// schema is call with a body, for an answer whose schema is not named like the path. The node has
// a minute: it may have many sessions to end.
func (n *node) schema(
	ctx context.Context, e env, method, path string, body io.Reader, schema string, into any,
) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := n.request(ctx, e, method, "/api/v1/"+path, body)
	if err != nil {
		return nil, err
	}
	response, err := n.client().Do(request)
	if err != nil {
		return nil, n.silent(err)
	}
	defer func() { _ = response.Body.Close() }() // was only read
	if answer, err = n.body(response); err != nil {
		return nil, err
	}
	var head struct{ Schema string }
	if json.Unmarshal(answer, &head) != nil || json.Unmarshal(answer, into) != nil || head.Schema != "nodeserver."+schema+"/1" {
		return nil, fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", n.admin, answer)
	}
	return answer, nil
}
