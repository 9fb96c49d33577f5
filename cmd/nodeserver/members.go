package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/keys"
)

func newMembersCommand(e env) *cobra.Command {
	var to node
	var asJSON bool
	c := &cobra.Command{
		Use:   "members [--conf FILE | --admin ADDR]",
		Short: "Print the members that a running node sees",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			reply, body, err := to.members(c.Context(), e)
			if err != nil {
				return err
			}
			if asJSON {
				_, err = e.stdout.Write(body)
				return err
			}
			return printMembers(e.stdout, reply)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// printMembers prints the table; a star marks the node that was asked.
func printMembers(w io.Writer, reply admin.MembersReply) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	put(t, "NAME\tSTATE\tREADY\tCHANNEL\tHTTP\tAPPS\tSESSIONS\tQUEUE\n") // what fails comes out of Flush
	for _, m := range reply.Members {
		name, ready := m.Name, "no"
		if m.Self {
			name += "*"
		}
		switch {
		case m.Draining:
			ready = "draining"
		case m.Ready:
			ready = "yes"
		}
		if m.Domain != "" {
			name += " (" + m.Domain + ")"
		}
		put(t, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", name, m.State, ready, m.ChannelAddress, m.HTTPAddress, or(strings.Join(m.Apps, ",")), m.Sessions, m.Queue)
	}
	for _, d := range reply.Down {
		put(t, "\napp not served: %s: %s\n", d.Name, indented(d.Reason))
	}
	for _, p := range reply.Providers {
		if p.Problem != "" {
			put(t, "\nmembers can't be found by %s: %s\n", p.Name, p.Problem)
		}
	}
	if reply.Waiting != "" {
		put(t, "\nnot ready yet: %s\n", reply.Waiting)
	}
	return t.Flush()
}

// or is the text, or a dash where there is none.
func or(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func indented(text string) string { return strings.ReplaceAll(text, "\n", "\n  ") }

// node is the running node that a command asks.
type node struct {
	file, admin string
}

// flags adds the flags that say which node.
func (n *node) flags(c *cobra.Command) {
	c.Flags().StringVarP(&n.file, "conf", "c", "", "configuration `FILE` of the node to ask")
	c.Flags().StringVar(&n.admin, "admin", "", "admin `ADDR`ess of the node to ask (default: as configured, 127.0.0.1:9081)")
}

// members asks the node for all that it knows of members. The body is the reply as it came.
func (n *node) members(ctx context.Context, e env) (reply admin.MembersReply, body []byte, err error) {
	body, err = n.reply(ctx, e, "members", &reply)
	return reply, body, err
}

// reply asks the node for what is at /api/v1/NAME, in the first version of its schema, and
// returns it as it came, too.
func (n *node) reply(ctx context.Context, e env, name string, into any) (body []byte, err error) {
	if body, err = n.get(ctx, e, "/api/v1/"+name); err != nil {
		return nil, err
	}
	var head struct{ Schema string }
	if errors.Join(json.Unmarshal(body, &head), json.Unmarshal(body, into)) != nil || head.Schema != "nodeserver."+name+"/1" {
		return nil, fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", n.admin, body)
	}
	return body, nil
}

// get asks the node for a path of its admin address.
func (n *node) get(ctx context.Context, e env, path string) ([]byte, error) {
	cfg, _, err := conf.Load(n.file, nil, e.environ)
	if err != nil {
		return nil, err
	}
	if n.admin == "" {
		n.admin = cfg.Admin.Address
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+dialable(n.admin)+path, nil)
	if err != nil {
		return nil, usagef("admin address %q is not host:port", n.admin)
	}
	if file := cfg.Admin.TokenFile; file != "" {
		token, err := keys.ReadSecret(file)
		if err != nil {
			return nil, fmt.Errorf("admin.token_file: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+token.Text())
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: the token is for the node
	response, err := client.Do(request)
	if err != nil {
		return nil, n.silent(err)
	}
	defer func() { _ = response.Body.Close() }()
	return n.body(response)
}

// body is what the node answered, if it did what it was asked.
func (n *node) body(response *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	switch {
	case err != nil:
		return nil, n.silent(err)
	case response.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("the node at %s wants its token: name its configuration with --conf, or the token's file with NODESERVER_ADMIN_TOKEN_FILE", n.admin)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("the node at %s answers %s: %.200s", n.admin, response.Status, strings.TrimSpace(string(body)))
	}
	return body, nil
}

// silent says why no answer came.
func (n *node) silent(err error) error {
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no node listens on %s: is it running, and is that its [admin] address?", n.admin)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the node at %s does not answer within 5s", n.admin)
	}
	return fmt.Errorf("ask the node at %s: %w", n.admin, err)
}

// dialable puts this machine in place of "all interfaces".
func dialable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "", err == nil && ip == netip.IPv4Unspecified():
		host = "127.0.0.1"
	case err == nil && ip == netip.IPv6Unspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
