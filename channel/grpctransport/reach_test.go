package grpctransport_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
)

// Without proof nothing but loopback is dialled, whatever name leads elsewhere.
func TestWithoutProofOnlyLoopbackIsDialled(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	d := grpctransport.Security{}.Dialer(time.Second)
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "localhost", "::ffff:127.0.0.1"} {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil && host != "127.0.0.2" || errors.Is(err, grpctransport.ErrUnproven) { // nobody need listen at the second
			t.Errorf("dial %s: %v", host, err)
		}
		if err == nil {
			c.Close()
		}
	}
	for _, host := range []string{"192.0.2.1", "::ffff:192.0.2.1", "0.0.0.0", "::"} { // the kernel takes the last two for this machine
		_, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		if !errors.Is(err, grpctransport.ErrUnproven) {
			t.Errorf("dial %s: %v", host, err)
		}
	}
	conn, err := grpctransport.New(grpctransport.Security{}, nil, nil).Dial(net.JoinHostPort("192.0.2.1", port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, _, err := conn.Exchange(ctx, channel.Hello{}); !errors.Is(err, grpctransport.ErrUnproven) {
		t.Errorf("a hello to another machine: %v", err)
	}
	for name, s := range map[string]grpctransport.Security{"insecure": grpctransport.Insecure(), "secret": secretOf(t)} {
		if !s.Proven() || s.Dialer(0).Control != nil {
			t.Errorf("%s: addresses of other machines are refused", name)
		}
	}
}

func secretOf(t *testing.T) grpctransport.Security {
	t.Helper()
	s, err := grpctransport.SecretCredentials([]grpctransport.Seed{oldSecret}, "n1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
