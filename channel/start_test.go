package channel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

// broken is a provider that can't begin.
type broken struct{ after time.Duration }

var errNoRoute = errors.New("no multicast route")

func (broken) Name() string { return "mdns" }

func (broken) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (b broken) Run(ctx context.Context, _ func(membership.Candidate)) error {
	select {
	case <-time.After(b.after):
		return errNoRoute
	case <-ctx.Done():
		return nil
	}
}

// Whether a provider that fails ends the node depends on whether it ever began.
func TestProviderThatFails(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{0, "membership provider mdns: no multicast route"},
		{time.Hour, ""},
	} {
		t.Run(fmt.Sprint("after ", tt.after), func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *cluster) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
				defer cancel()
				self := membership.Member{ID: membership.ID{Name: "a", Incarnation: 1}, ChannelAddress: "a:1"}
				log := &lines{}
				c := channel.New(
					channel.Config{Self: self},
					grpctransport.New(grpctransport.Insecure(), cl.net.Listen("a:1"), cl.net.Dialer("a")),
					[]membership.Provider{broken{tt.after}}, slog.New(slog.NewTextHandler(log, nil)),
				)
				switch err := c.Run(ctx); {
				case tt.want == "" && (err != nil || log.count("membership provider failed") != 1):
					t.Errorf("run = %v, log:\n%s", err, log)
				case tt.want != "" && (!errors.Is(err, errNoRoute) || err.Error() != tt.want):
					t.Errorf("run = %v, want %s", err, tt.want)
				}
			})
		})
	}
}

func TestListenerThatCloses(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		self := membership.Member{ID: membership.ID{Name: "a", Incarnation: 1}, ChannelAddress: "a:1"}
		lis := cl.net.Listen("a:1")
		tr := grpctransport.New(grpctransport.Insecure(), lis, cl.net.Dialer("a"))
		c := channel.New(channel.Config{Self: self}, tr, nil, slog.New(slog.DiscardHandler))
		time.AfterFunc(time.Second, func() { lis.Close() })
		if err := c.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "serve the channel: ") {
			t.Errorf("run = %v", err)
		}
	})
}

// The machine of a node died without a word, and the node starts again elsewhere: the name looks
// taken for a moment, but the start must succeed.
func TestFormerIncarnationStillLooksAlive(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		pass(time.Second)
		cl.net.Cut("b", "a")
		cl.net.Cut("b", "c")
		again := cl.startAt("b", "elsewhere", []string{"a:1"})
		took := cl.within(3*time.Second, "taken over", func() bool { return a.sees(again, c) && c.sees(again, a) && again.sees(a, c) })
		if took < 500*time.Millisecond {
			t.Errorf("took over after %v from an incarnation that was heard a moment ago", took)
		}
		if events := a.events(); !slices.Contains(events, "gone "+b.id.String()) {
			t.Errorf("no handler was called for the end of the former incarnation: %v", events)
		}
		a.sound(t)
	})
}

// Addresses where nobody is neither pile up nor keep those out where somebody is.
func TestManyDeadAddresses(t *testing.T) {
	inBubble(t, func(_ *testing.T, cl *cluster) {
		var dead []string
		for i := range 200 {
			dead = append(dead, fmt.Sprintf("dead%d:1", i))
		}
		a := cl.start("a", dead)
		pass(10 * time.Second)
		b := cl.start("b", []string{"a:1"})
		cl.within(5*time.Second, "linked", func() bool { return a.sees(b) && b.sees(a) })
	})
}

// A cut shorter than DownAfter costs suspicion, no more: the link goes on.
func TestShortCut(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		pass(time.Second)
		cl.net.Cut("a", "b")
		pass(1300 * time.Millisecond)
		a.send(b, channel.Live, true, "held up")
		cl.net.Heal("a", "b")
		cl.within(time.Second, "alive again", func() bool { return a.sees(b, c) && b.sees(a, c) })
		pass(time.Millisecond)
		if b.came("held up").IsZero() {
			t.Error("what was sent during the cut is lost")
		}
		if n := a.links(b); n != 1 {
			t.Errorf("%d links, want 1", n)
		}
	})
}

// A node that has nobody to talk to but itself does not become its own member.
func TestOwnAddressUnderAnotherName(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		alias := cl.net.Listen("alias:1")
		forward(t, cl, alias, "a:1")
		a := cl.start("a", []string{"alias:1", "a:1"})
		pass(10 * time.Second)
		if !a.sees() || a.log.count("refused") != 0 || a.Problem() != nil {
			t.Errorf("members %v, problem %v, log:\n%s", a.Members(), a.Problem(), a.log)
		}
	})
}
