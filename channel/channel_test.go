package channel_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/channel/grpctransport"
	"github.com/nodeserver/nodeserver/membership"
)

func TestThreeFindEachOtherThroughOne(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		for _, n := range []*node{a, b, c} {
			cl.within(time.Second, "settled", func() bool {
				select {
				case <-n.Settled():
					return true
				default:
					return false
				}
			})
			if got := len(n.Members()); got != 3 {
				t.Errorf("%s knows %d members, want 3: %v", n.id, got, n.Members())
			}
			n.sound(t)
		}
	})
}

func TestAloneSettles(t *testing.T) {
	inBubble(t, func(_ *testing.T, cl *cluster) {
		a := cl.start("a", []string{"a:1", "b:1"})
		cl.within(900*time.Millisecond, "settled", func() bool {
			select {
			case <-a.Settled():
				return true
			default:
				return false
			}
		})
	})
}

func TestPayloadsArriveInOrderOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.net.Delay("a", "b", 3*time.Millisecond)
		for _, class := range []channel.Class{channel.Live, channel.Bulk} {
			var want []string
			for i := range 2000 {
				want = append(want, fmt.Sprintf("%d-%d", class, i))
			}
			for _, to := range []*node{b, c} {
				for i, p := range want {
					a.send(to, class, i%7 == 0, p)
				}
				cl.within(time.Second, "payloads", func() bool { return len(to.received(a, class)) == len(want) })
				if got := to.received(a, class); !slices.Equal(got, want) {
					t.Errorf("%s got %v", to.id, got)
				}
			}
		}
		for _, to := range []*node{b, c} {
			if frames := a.frames(to, channel.Live); frames > 1000 || a.links(to) != 1 {
				t.Errorf("%d frames over %d links to %s", frames, a.links(to), to.id)
			}
		}
	})
}

func TestBatchAndUrgent(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, _ := cl.three()
		pass(100*time.Millisecond + 300*time.Microsecond)
		begin := time.Now()
		a.send(b, channel.Live, false, "first")
		pass(400 * time.Microsecond)
		if !b.came("first").IsZero() {
			t.Error("a payload that isn't urgent was not held for company")
		}
		a.send(b, channel.Live, false, "second")
		cl.within(10*time.Millisecond, "batched", func() bool { return !b.came("second").IsZero() })
		for _, p := range []string{"first", "second"} {
			if d := b.came(p).Sub(begin); d != time.Millisecond {
				t.Errorf("%s came after %v, want 1ms from the first wake-up", p, d)
			}
		}
		begin = time.Now()
		a.send(b, channel.Live, false, "patient")
		a.send(b, channel.Live, true, "urgent")
		pass(0)
		if d := b.came("urgent").Sub(begin); d != 0 || b.came("patient") != b.came("urgent") {
			t.Errorf("urgent payload came after %v, and what waited not with it", d)
		}
	})
}

func TestResetConnectionIsAnewLink(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.net.Reset("a", "b")
		cl.within(time.Second, "linked again", func() bool {
			latest := a.events()[len(a.events())-2:]
			return slices.Equal(latest, []string{"down " + b.id.String(), "up " + b.id.String()}) && a.sees(b, c) && b.sees(a, c)
		})
		a.send(b, channel.Live, true, "again")
		pass(time.Millisecond)
		if b.came("again").IsZero() {
			t.Error("nothing comes over the new link")
		}
		for _, n := range []*node{a, b} {
			n.sound(t)
			if n.log.count("member gone") != 0 {
				t.Errorf("%s thinks somebody is gone", n.id)
			}
		}
	})
}

// A cut cable is noticed within DownAfter by both sides, and when it is plugged in again the same
// incarnations are linked again.
func TestCutAndHealed(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		pass(3 * time.Second)
		cl.net.Cut("a", "b")
		cl.net.Cut("c", "b")
		suspect := cl.within(1500*time.Millisecond, "suspect", func() bool { return a.state(b.id) == membership.Suspect })
		if suspect < 700*time.Millisecond {
			t.Errorf("suspect after %v only", suspect)
		}
		cl.within(1500*time.Millisecond, "gone", func() bool {
			return a.sees(c) && c.sees(a) && b.sees()
		})
		pass(20 * time.Second)
		for _, other := range []string{"a", "c"} {
			cl.net.Heal(other, "b")
		}
		took := cl.within(3*time.Second, "back", func() bool { return a.sees(b, c) && b.sees(a, c) && c.sees(a, b) })
		t.Logf("back after %v", took)
		want := []string{"up " + b.id.String(), "down " + b.id.String(), "gone " + b.id.String(), "up " + b.id.String()}
		var got []string
		for _, e := range a.events() {
			if strings.HasSuffix(e, b.id.String()) {
				got = append(got, e)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("a's handler was called for %v, want %v", got, want)
		}
		b.sound(t)
	})
}

func TestOneWayCut(t *testing.T) {
	inBubble(t, func(_ *testing.T, cl *cluster) {
		a := cl.start("a", nil)
		b := cl.start("b", []string{"a:1"})
		cl.within(time.Second, "linked", func() bool { return a.sees(b) && b.sees(a) })
		pass(2 * time.Second)
		cl.net.CutOneWay("a", "b")
		cl.within(3*time.Second, "gone on both sides", func() bool { return a.sees() && b.sees() })
		cl.net.Heal("a", "b")
		cl.within(3*time.Second, "back", func() bool { return a.sees(b) && b.sees(a) })
	})
}

// Two members that can't reach each other while a third reaches both: the third's word keeps them
// from being held dead.
func TestIndirectProbe(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.net.Cut("a", "b")
		pass(10 * time.Second)
		if s := a.state(b.id); s != membership.Suspect {
			t.Errorf("b is %v for a, want suspect", s)
		}
		if !c.sees(a, b) {
			t.Errorf("c sees %v", c.Members())
		}
		cl.net.Heal("a", "b")
		cl.within(3*time.Second, "back", func() bool { return a.sees(b, c) && b.sees(a, c) })
	})
}

// A node that has no descriptor left can probe nobody, and holds nobody dead for that.
func TestOwnLackIsNoMembersFault(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a := cl.start("a", nil)
		b := cl.start("b", []string{"a:1"})
		cl.within(time.Second, "linked", func() bool { return a.sees(b) && b.sees(a) })
		cl.net.Starve("a", true)
		cl.net.Reset("a", "b")
		pass(2 * time.Second)
		if s := a.state(b.id); s != membership.Suspect {
			t.Errorf("b is %v for a, want suspect", s)
		}
		cl.net.Starve("a", false)
		cl.within(3*time.Second, "back", func() bool { return a.sees(b) && b.sees(a) })
		if slices.Contains(a.events(), "gone "+b.id.String()) {
			t.Errorf("events: %v", a.events())
		}
	})
}

func TestCrashIsNoticedAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.crash(b)
		took := cl.within(50*time.Millisecond, "gone", func() bool { return a.sees(c) && c.sees(a) })
		t.Logf("gone after %v", took)
		again := cl.start("b", []string{"c:1"})
		cl.within(time.Second, "new incarnation", func() bool { return a.sees(again, c) && again.sees(a, c) })
		a.sound(t)
		for _, s := range a.Members() {
			if s.ID == b.id {
				t.Error("the old incarnation is still in the list")
			}
		}
	})
}

// A killed process that is back before anybody has looked: the new incarnation takes over, and
// handlers hear of the old one's end first.
func TestRestartAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.crash(b)
		again := cl.start("b", []string{"c:1"})
		cl.within(time.Second, "new incarnation", func() bool { return a.sees(again, c) && c.sees(again, a) && again.sees(a, c) })
		events := a.events()
		if gone, up := slices.Index(events, "gone "+b.id.String()), slices.Index(events, "up "+again.id.String()); gone < 0 || up < gone {
			t.Errorf("order of events: %v", events)
		}
		a.sound(t)
	})
}

func TestLeaveFlushesAndTells(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		cl.net.Delay("a", "b", 20*time.Millisecond)
		a.put(b.id, channel.Live, "last words")
		a.put(b.id, channel.Bulk, "and papers")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		a.Leave(ctx)
		if d := time.Since(begin); d > 500*time.Millisecond {
			t.Errorf("leaving took %v", d)
		}
		if b.came("last words").IsZero() || b.came("and papers").IsZero() {
			t.Error("what was left to send was lost")
		}
		cl.within(50*time.Millisecond, "gone", func() bool { return b.sees(c) && c.sees(b) })
		if b.log.count("member suspect") != 0 || b.log.count("left: stopped in order") != 1 {
			t.Error("leaving looked like a failure")
		}
		pass(5 * time.Second)
		if b.linked(a.id) {
			t.Error("linked again to a node that has left")
		}
		a.sound(t)
		b.sound(t)
	})
}

// A member that is cut off can't hold up one that leaves.
func TestLeaveIsBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, _, _ := cl.three()
		cl.net.Cut("a", "b")
		a.send(a, channel.Live, true)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		begin := time.Now()
		a.Leave(ctx)
		if d := time.Since(begin); d > 300*time.Millisecond {
			t.Errorf("leaving took %v", d)
		}
	})
}

func TestReadyAndDrainingAreTold(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, _ := cl.three()
		status := func() membership.Status {
			for _, s := range b.Members() {
				if s.ID == a.id {
					return s
				}
			}
			return membership.Status{}
		}
		a.SetReady(true)
		cl.within(5*time.Millisecond, "ready", func() bool { return status().Ready })
		a.SetDraining(true)
		cl.within(5*time.Millisecond, "draining", func() bool { return status().Draining })
		cl.net.Reset("a", "b")
		cl.within(time.Second, "linked", func() bool { return b.linked(a.id) })
		if s := status(); !s.Ready || !s.Draining {
			t.Errorf("after a reconnect: %+v", s)
		}
	})
}

func TestDuplicateNameRefusesToStart(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		pass(time.Second)
		second := cl.startAt("b", "elsewhere", []string{"a:1"})
		began := time.Now()
		err := <-second.err
		var dup *channel.DuplicateNameError
		if !errors.As(err, &dup) || dup.Name != "b" || dup.Address != "b:1" {
			t.Fatalf("run = %v, want a *DuplicateNameError for b at b:1", err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 6*time.Second {
			t.Errorf("gave up after %v", took)
		}
		if !a.sees(b, c) || !b.sees(a, c) {
			t.Error("the cluster was disturbed")
		}
		const text = `duplicate node name: \"b\" at elsewhere:1 is taken by the live node at b:1`
		if a.log.count(text) != 1 {
			t.Errorf("a says it %d times, want once", a.log.count(text))
		}
		if second.log.count(text) < 1 || second.log.count(text) > 3 { // once per address
			t.Errorf("the second says it %d times", second.log.count(text))
		}
	})
}

// Of two nodes of one name that start at once, as from a copied conf, the one with the lower
// incarnation stays.
func TestDuplicateNameAtOnce(t *testing.T) {
	for _, apart := range []time.Duration{0, 10 * time.Millisecond, 700 * time.Millisecond} {
		t.Run(apart.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *cluster) {
				var all []*node
				for _, host := range []string{"x", "y", "z"} {
					all = append(all, cl.startAt("b", host, []string{"x:1", "y:1", "z:1"}))
					pass(apart)
				}
				pass(10 * time.Second)
				for _, n := range all[1:] {
					select {
					case err := <-n.err:
						if _, ok := errors.AsType[*channel.DuplicateNameError](err); !ok {
							t.Errorf("%s ended with %v, want a *DuplicateNameError", n.host, err)
						}
					default:
						t.Errorf("%s goes on", n.host)
					}
				}
				select {
				case err := <-all[0].err:
					t.Fatalf("the first ended with %v", err)
				default:
				}
				if err := all[0].Problem(); err != nil {
					t.Errorf("the first's problem: %v", err)
				}
				other := cl.start("c", []string{"x:1"})
				cl.within(2*time.Second, "linked", func() bool { return all[0].sees(other) && other.sees(all[0]) })
			})
		})
	}
}

// The holder of the name froze, and another took its name; when it thaws it must not come back.
func TestSuperseded(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		pass(time.Second)
		cl.net.Cut("b", "a")
		cl.net.Cut("b", "c")
		cl.within(3*time.Second, "gone", func() bool { return a.sees(c) && c.sees(a) })
		second := cl.startAt("b", "elsewhere", []string{"a:1"})
		cl.within(2*time.Second, "taken over", func() bool { return a.sees(second, c) && c.sees(second, a) })
		cl.net.Heal("b", "a")
		cl.net.Heal("b", "c")
		cl.within(3*time.Second, "noticed", func() bool { return b.Problem() != nil })
		var sup *channel.SupersededError
		if err := b.Problem(); !errors.As(err, &sup) || sup.Address != "elsewhere:1" {
			t.Errorf("problem of the old one = %v", err)
		}
		pass(5 * time.Second)
		if !a.sees(second, c) || !second.sees(a, c) || second.Problem() != nil {
			t.Errorf("the new one is disturbed: %v", second.Problem())
		}
	})
}

func TestOtherClusterIsToldOnBothSidesOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a := cl.start("a", nil)
		b := cl.start("b", []string{"a:1"}, func(c *channel.Config) { c.Cluster = "prod" })
		pass(20 * time.Second)
		var stray *channel.StrayError
		if err := <-b.err; !errors.As(err, &stray) || stray.Address != "a:1" {
			t.Errorf("b ended with %v, want a *StrayError", err)
		}
		const text = `cluster names differ: b is of cluster \"prod\", a of \"test\"`
		if a.log.count(text) != 1 || b.log.count(text) != 1 {
			t.Errorf("logged %d and %d times, want once each", a.log.count(text), b.log.count(text))
		}
		if !a.sees() || !b.sees() {
			t.Error("they became members")
		}
	})
}

// A dial that this node's own end cuts off finds nothing out, so it says nothing.
func TestStrayIsToldOnceThoughDialling(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		cfg := channel.Config{Self: membership.Member{ID: membership.ID{Name: "a", Incarnation: 1}, ChannelAddress: "a:1"}, Cluster: "test"}
		tr := &strangers{}
		c := channel.New(cfg, tr, []membership.Provider{static{"b:1"}}, slog.New(slog.NewTextHandler(log, nil)))
		var stray *channel.StrayError
		if err := c.Run(t.Context()); !errors.As(err, &stray) || !errors.Is(err, channel.ErrSecret) {
			t.Errorf("run = %v, want a stray's %v", err, channel.ErrSecret)
		}
		if tr.dials < 2 {
			t.Fatalf("%d dials: none was under way at the end", tr.dials)
		}
		if n := log.count("the security of the two nodes differs"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log)
		}
	})
}

// strangers is a transport to nodes of another secret: the first dial finds out at once, the next
// only when it is cut off. Its conns are used by one goroutine.
type strangers struct{ dials int }

func (s *strangers) Serve(ctx context.Context, _ channel.Service) error {
	<-ctx.Done()
	return nil
}

func (s *strangers) Dial(string) (channel.Conn, error) {
	s.dials++
	return s, nil
}

func (s *strangers) Exchange(ctx context.Context, _ channel.Hello) (channel.Outgoing, channel.Welcome, error) {
	if s.dials > 1 {
		<-ctx.Done()
		return nil, channel.Welcome{}, fmt.Errorf("%w (%w)", channel.ErrSecret, ctx.Err())
	}
	return nil, channel.Welcome{}, channel.ErrSecret
}

func (s *strangers) Probe(context.Context, string, string) (uint64, error) {
	return 0, channel.ErrSecret
}

func (s *strangers) Close() error { return nil }

func TestWatchFromOutside(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, _, _ := cl.three()
		ctx, cancel := context.WithCancel(t.Context())
		seen := make(chan []membership.Status, 100)
		ended := make(chan error)
		tr := grpctransport.New(grpctransport.Insecure(), nil, cl.net.Dialer("door"))
		go func() {
			ended <- tr.Watch(ctx, "a:1", "test", func(s []membership.Status) { seen <- s })
		}()
		if first := <-seen; len(first) != 3 || first[1].HTTPAddress != "b:2" {
			t.Errorf("first list: %+v", first)
		}
		a.SetReady(true)
		if second := <-seen; !second[0].Ready {
			t.Errorf("second list: %+v", second)
		}
		cancel()
		if err := <-ended; !errors.Is(ctx.Err(), context.Canceled) || err == nil {
			t.Errorf("watch = %v", err)
		}
		err := tr.Watch(t.Context(), "a:1", "prod", func([]membership.Status) {})
		if err == nil || !strings.Contains(err.Error(), `watch from cluster "prod" at a node of "test"`) {
			t.Errorf("watch of another cluster = %v", err)
		}
	})
}

// An address besides the advertised one must not break the link there is.
func TestSecondAddressOfOneMember(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a := cl.start("a", nil, func(c *channel.Config) { c.Self.ChannelAddress = "alias:1" })
		b := cl.start("b", []string{"a:1", "alias:1"})
		alias := cl.net.Listen("alias:1")
		forward(t, cl, alias, "a:1")
		cl.within(2*time.Second, "linked", func() bool { return a.sees(b) && b.sees(a) })
		pass(30 * time.Second)
		if n := b.links(a); n != 1 {
			t.Errorf("%d links, want 1", n)
		}
	})
}

func TestLargePayloads(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, _ := cl.three()
		big := strings.Repeat("x", 4<<20-64<<10) // fits in one message
		mid := strings.Repeat("y", 200<<10)
		huge := strings.Repeat("0123456789", 1<<20) // goes in pieces
		want := []string{"s", mid, mid, big, huge, "s", huge, big + "x", mid}
		a.send(b, channel.Bulk, false, append(slices.Clone(want), strings.Repeat("z", channel.MaxPayload+1))...)
		cl.within(time.Second, "payloads", func() bool { return len(b.received(a, channel.Bulk)) == len(want) })
		if !slices.Equal(b.received(a, channel.Bulk), want) {
			t.Error("payloads came in another order")
		}
		if n := a.log.count("payload too large, dropped"); n != 1 {
			t.Errorf("%d lines of payloads that were dropped, want 1", n)
		}
	})
}

// A receiver that is busy holds back its senders, and nothing else: not the live stream, not the
// others.
func TestSlowReceiverHoldsBackItsSenderOnly(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, c := cl.three()
		until := make(chan struct{})
		b.holdBack(until)
		mid := strings.Repeat("y", 100<<10)
		for range 100 {
			a.put(b.id, channel.Bulk, mid)
			a.put(c.id, channel.Bulk, mid)
		}
		a.send(b, channel.Bulk, false)
		a.send(c, channel.Bulk, false)
		pass(10 * time.Second)
		if n := a.left(b, channel.Bulk); n < 50 {
			t.Errorf("only %d of 100 payloads are still to be pulled: they pile up somewhere", n)
		}
		if n := len(c.received(a, channel.Bulk)); n != 100 {
			t.Errorf("c got %d of 100", n)
		}
		if !a.sees(b, c) || !b.sees(a, c) {
			t.Error("a busy handler of bulk made somebody suspect")
		}
		close(until)
		cl.within(time.Second, "all", func() bool { return len(b.received(a, channel.Bulk)) == 100 })
	})
}
