package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/server/operators"
)

// node is the running node that a command asks.
type node struct {
	file, admin, token string

	base   string // of its URLs, once it was asked
	pinned []byte // the certificate that the node must have, DER; nil: one that the system trusts
}

const tokenFileUsage = "`FILE` with the token to send (default: admin.token_file, or what the node wrote when it started)"

// flags adds the flags that say which node.
func (n *node) flags(c *cobra.Command) {
	c.Flags().StringVarP(&n.file, "conf", "c", "", "configuration `FILE` of the node to ask")
	c.Flags().StringVar(&n.admin, "admin", "",
		"admin `ADDR`ess of the node to ask, host:port or https://host:port (default: as configured, 127.0.0.1:9081)")
	c.Flags().StringVar(&n.token, "token-file", "", tokenFileUsage)
}

// members asks the node for all that it knows of members. The body is the reply as it came.
func (n *node) members(ctx context.Context, e env) (reply admin.MembersReply, body []byte, err error) {
	body, err = n.reply(ctx, e, "members", &reply)
	return reply, body, err
}

// reply asks the node for what is at /api/v1/NAME, in the first version of its schema, and
// returns it as it came, too.
func (n *node) reply(ctx context.Context, e env, name string, into any) (body []byte, err error) {
	return n.call(ctx, e, http.MethodGet, name, "", into)
}

// call is reply by any method, with a query ("node=n1"). The node has 5 s.
func (n *node) call(ctx context.Context, e env, method, name, query string, into any) (body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if query != "" {
		query = "?" + query
	}
	if body, err = n.do(ctx, e, method, "/api/v1/"+name+query); err != nil {
		return nil, err
	}
	var head struct{ Schema string }
	if errors.Join(json.Unmarshal(body, &head), json.Unmarshal(body, into)) != nil || head.Schema != "nodeserver."+name+"/1" {
		return nil, fmt.Errorf("what answers at %s is no nodeserver of this version: %.60q", n.admin, body)
	}
	return body, nil
}

// do sends the node a request, and returns what it answers if that is a success.
func (n *node) do(ctx context.Context, e env, method, path string) ([]byte, error) {
	request, err := n.request(ctx, e, method, path, http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := n.client().Do(request)
	if err != nil {
		return nil, n.silent(err)
	}
	defer func() { _ = response.Body.Close() }()
	return n.body(response)
}

// printed prints the node's answer as it came, unless asking was in vain.
func printed(e env, body []byte, err error) error {
	if err == nil {
		_, err = e.stdout.Write(body)
	}
	return err
}

// client has no proxy: the token is for the node.
func (n *node) client() *http.Client {
	t := &http.Transport{DisableKeepAlives: true}
	if n.pinned != nil {
		t.TLSClientConfig = &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: true, //nolint:gosec // VerifyConnection wants this very certificate
			VerifyConnection:   n.isPinned,
		}
	}
	return &http.Client{Transport: t}
}

var errOther = errors.New("the node has another certificate than admin.tls_cert: is it that node's file?")

func (n *node) isPinned(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 || !bytes.Equal(c.PeerCertificates[0].Raw, n.pinned) {
		return errOther
	}
	return nil
}

// certificateIn is the first certificate of a PEM file.
func certificateIn(file string) ([]byte, error) {
	text, err := keys.Read(file)
	if err != nil {
		return nil, fmt.Errorf("admin.tls_cert: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("admin.tls_cert: %s holds no certificate (PEM)", file)
	}
	return block.Bytes, nil
}

// request is one to the node, with its token.
func (n *node) request(ctx context.Context, e env, method, path string, body io.Reader) (*http.Request, error) {
	cfg, _, err := conf.Load(n.file, nil, e.environ)
	if err != nil {
		return nil, err
	}
	if n.admin == "" {
		n.admin = cfg.Admin.Address
	}
	scheme, address := "http", n.admin
	if rest, ok := strings.CutPrefix(n.admin, "https://"); ok {
		scheme, address = "https", rest
	}
	if cfg.Admin.TLSCert != "" && address == cfg.Admin.Address {
		scheme = "https"
		if n.pinned, err = certificateIn(cfg.Admin.TLSCert); err != nil {
			return nil, err
		}
	}
	n.base = scheme + "://" + dialable(address)
	request, err := http.NewRequestWithContext(ctx, method, n.base+path, body)
	if err != nil {
		return nil, usagef("admin address %q is not host:port", n.admin)
	}
	return request, n.authorize(request, cfg)
}

// authorize sends the token along, if there is one: of the flag, of the conf, or what the
// node wrote when it started.
func (n *node) authorize(r *http.Request, cfg config.Config) error {
	file, key := n.token, "--token-file"
	if file == "" {
		file, key = cfg.Admin.TokenFile, "admin.token_file"
	}
	token, ok := operators.Find(r.URL.Host)
	if file != "" {
		var err error
		if token, err = keys.ReadSecret(file); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		ok = true
	}
	if ok {
		r.Header.Set("Authorization", "Bearer "+token.Text())
	}
	return nil
}

// body is what the node answered, if it did what it was asked.
func (n *node) body(response *http.Response) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	switch {
	case err != nil:
		return nil, n.silent(err)
	case response.StatusCode == http.StatusUnauthorized && response.Request.Header.Get("Authorization") == "":
		return nil, fmt.Errorf(
			"the node at %s wants a token: name its file with --token-file, or the node's configuration with --conf",
			n.admin,
		)
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
