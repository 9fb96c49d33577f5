package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/deploy"
)

func newAppsDeployCommand(e env) *cobra.Command {
	return newChangeCommand(e, "deploy FILE", "Deploy a plugin on all nodes of the cluster: all of them serve it, or none",
		func(arg string) (path string, body io.ReadCloser, err error) {
			f, err := os.Open(arg)
			return "/api/v1/apps?version=" + url.QueryEscape(deploy.VersionOf(arg)), f, err
		})
}

func newAppsRollbackCommand(e env) *cobra.Command {
	return newChangeCommand(e, "rollback NAME", "Go back to the build before, on all nodes of the cluster", ofApp("rollback"))
}

func newAppsUndeployCommand(e env) *cobra.Command {
	return newChangeCommand(e, "undeploy NAME", "Take a webapp that was deployed on all nodes from all of them", ofApp("undeploy"))
}

func newAppsStopCommand(e env) *cobra.Command {
	return newChangeCommand(e, "stop NAME",
		"Have all nodes answer 503 for a webapp until it is started; its sessions are kept", ofApp("stop"))
}

func newAppsStartCommand(e env) *cobra.Command {
	return newChangeCommand(e, "start NAME", "Have all nodes serve a webapp that was stopped", ofApp("start"))
}

// ofApp asks for a change of the app that the argument names.
func ofApp(what string) func(arg string) (string, io.ReadCloser, error) {
	return func(arg string) (string, io.ReadCloser, error) {
		return "/api/v1/apps/" + url.PathEscape(arg) + "/" + what, http.NoBody, nil
	}
}

// newChangeCommand makes a command that asks a node for a change on all nodes.
func newChangeCommand(e env, use, short string, ask func(arg string) (string, io.ReadCloser, error)) *cobra.Command {
	var to node
	var skip, asJSON bool
	c := &cobra.Command{
		Use: use + " [--conf FILE | --admin ADDR]", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			path, body, err := ask(args[0])
			if err != nil {
				return err
			}
			defer func() { _ = body.Close() }() // was only read
			if skip {
				path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "skip_unreachable=true"
			}
			if !asJSON {
				body = withProgress(body, e.stdout)
			}
			return to.change(c.Context(), e, path, body, outcomes[c.Name()], asJSON)
		},
	}
	to.flags(c)
	c.Flags().BoolVar(&skip, "skip-unreachable", false, "go on without members that can't be reached: they follow when they are back")
	c.Flags().BoolVar(&asJSON, "json", false, "print what the node answers, one JSON object a line")
	return c
}

// outcomes say what is so on all nodes after a command that brings no build.
var outcomes = map[string]string{"undeploy": "is undeployed", "start": "serves"}

// change posts a change, and prints what comes of it.
func (n *node) change(ctx context.Context, e env, path string, body io.Reader, done string, asJSON bool) error {
	request, err := n.request(ctx, e, http.MethodPost, path, body)
	if err != nil {
		return err
	}
	response, err := n.client().Do(request)
	if err != nil {
		return n.silent(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		_, err := n.body(response)
		return err
	}
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s admin.DeployStep
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil || s.Schema != "nodeserver.deploy/1" {
			return fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", n.admin, lines.Bytes())
		}
		if asJSON {
			put(e.stdout, "%s\n", lines.Bytes())
		}
		switch {
		case s.Done && s.Error != "":
			return errors.New(s.Error)
		case asJSON && !s.Done:
		case asJSON:
			return nil
		case s.Done && s.Stopped:
			put(e.stdout, "%s is stopped on all nodes, until `nodeserver apps start %s`\n", s.App, s.App)
			return nil
		case s.Done && done != "":
			put(e.stdout, "%s %s on all nodes\n", s.App, done)
			return nil
		case s.Done:
			put(e.stdout, "%s %s (%.12s) serves on all nodes\n", s.App, s.Version, s.Hash)
			return nil
		default:
			put(e.stdout, "%s: %s\n", s.Node, s.Text)
		}
	}
	return fmt.Errorf(
		"the node at %s has ended before it was done; ask `nodeserver apps list` what came of it: %w",
		n.admin,
		errors.Join(lines.Err(), io.ErrUnexpectedEOF),
	)
}
