package grpctransport_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/membership"
)

// Whoever connects and talks nonsense, however often, costs a line a minute.
func TestStrangersAreLoggedSeldom(t *testing.T) {
	t.Parallel()
	a := start(t, "a", secrets(t, "a", oldSecret))
	for i := range 300 {
		c, err := net.Dial("tcp", a.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, strings.Repeat("junk", 1+i%3)+"\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(c); errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("the connection stays open")
		}
		_ = c.Close()
	}
	waitFor(t, "a line of it", says(a, "the security of the two nodes differs"))
	if n := strings.Count(a.log.String(), "level=WARN"); n != 1 {
		t.Errorf("300 strangers made %d lines", n)
	}
}

// Connections that begin a handshake and don't go on keep no member out.
func TestHalfOpenConnectionsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bounded := listen.New(nl, listen.Limits{Unproven: 20})
	addr := nl.Addr().String()
	box := newBox()
	self := membership.Member{ID: membership.ID{Name: "a", Incarnation: 1}, ChannelAddress: addr}
	tr := grpctransport.New(secrets(t, "a", oldSecret), bounded, nil)
	c := channel.New(channel.Config{Self: self, Cluster: "c"}, tr, []membership.Provider{at(nil)}, slog.New(slog.DiscardHandler))
	c.Topic("t", 1, box, nil)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- c.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for range 200 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte{0x16, 3, 1, 2, 0}) // the head of a ClientHello
		open = append(open, c)
	}
	b := start(t, "b", secrets(t, "b", oldSecret), addr)
	waitFor(t, "the member is linked", func() bool { return len(box.links()) == 1 && len(b.box.links()) == 1 })
	if s := bounded.Stats(); s.Open > 30 || s.Unproven > 20 || s.Refused[listen.OverUnproven] < 150 {
		t.Errorf("%+v", s)
	}
}
