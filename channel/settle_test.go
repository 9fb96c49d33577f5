package channel_test

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
)

// flood is mDNS on a network where somebody makes up members, 50 a second, at addresses that answer
// nobody; real ones are announced once a second.
type flood struct{ real []string }

func (flood) Name() string { return "mdns" }

func (flood) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (f flood) Run(ctx context.Context, found func(membership.Candidate)) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		found(membership.Candidate{Address: fmt.Sprintf("void:%d", 1+n), Unproven: true})
		if n%50 == 25 {
			for _, addr := range f.real {
				found(membership.Candidate{Address: addr, Unproven: true})
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// void cuts the host off that swallows what is sent to it.
func (cl *cluster) void(hosts ...string) {
	for _, h := range hosts {
		cl.net.Cut(h, "void")
	}
}

func (n *node) settled() bool {
	select {
	case <-n.Settled():
		return true
	default:
		return false
	}
}

// A stranger that can send UDP packets keeps no node from starting: with members in a list, by mdns only, and
// alone.
func TestAFloodOfMadeUpMembers(t *testing.T) {
	for name, tc := range map[string]struct {
		list    []string
		real    []string // announced by mdns, too
		members int
		within  time.Duration
	}{
		"a list":    {[]string{"a:1", "b:1"}, nil, 2, 2 * time.Second},
		"mdns only": {nil, []string{"a:1", "b:1"}, 2, 10 * time.Second},
		"alone":     {nil, nil, 0, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *cluster) {
				cl.void("c")
				var others []*node
				if tc.members > 0 {
					others = append(others, cl.start("a", nil), cl.start("b", []string{"a:1"}))
					pass(2 * time.Second)
				}
				c := cl.startWith("c", "c", []membership.Provider{static(tc.list), flood{real: tc.real}})
				took := cl.within(tc.within, "settled", c.settled)
				cl.within(10*time.Second, "linked", func() bool { return c.sees(others...) })
				t.Logf("settled after %v", took)
				pass(2 * time.Minute)
				if !c.sees(others...) {
					t.Errorf("sees %v", c.Members())
				}
				if n := c.log.count("level=WARN"); n > 2*4 {
					t.Errorf("%d warnings in two minutes:\n%s", n, c.log)
				}
			})
		})
	}
}

// Addresses that were made up once are not dialled for ever.
func TestMadeUpMembersAreForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		cl.void("a")
		a := cl.startWith("a", "a", []membership.Provider{once("void:1")})
		pass(time.Minute)
		dials := a.log.count("void:1")
		pass(10 * time.Minute)
		if n := a.log.count("void:1"); n != dials {
			t.Errorf("%d lines about an address that nobody speaks of since %v: %s", n-dials, 10*time.Minute, a.log)
		}
		if dialled := cl.net.Dialled("void:1"); dialled > 10 {
			t.Errorf("dialled %d times", dialled)
		}
	})
}

// once is a provider that heard of an address one single time.
type once string

func (once) Name() string { return "mdns" }

func (once) Stats() membership.Stats { return membership.Stats{Queries: 1} }

func (o once) Run(ctx context.Context, found func(membership.Candidate)) error {
	found(membership.Candidate{Address: string(o), Unproven: true})
	<-ctx.Done()
	return nil
}

// A stranger on the network, of another cluster, does not end a first node.
func TestAStrangerHeardOfEndsNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		cl.start("x", nil, func(c *channel.Config) { c.Cluster = "other" })
		pass(2 * time.Second)
		a := cl.startWith("a", "a", []membership.Provider{once("x:1")})
		cl.within(3*time.Second, "settled", a.settled)
		pass(time.Minute)
		if a.log.count("leads to no member of this cluster") != 1 {
			t.Errorf("it is to be said once:\n%s", a.log)
		}
	})
}

// wrong is a provider that fails, or knows of nobody.
type wrong struct {
	empty bool
	name  string // empty: dns
}

func (w wrong) Name() string { return cmp.Or(w.name, "dns") }

func (w wrong) Stats() membership.Stats {
	return membership.Stats{Queries: 1, Problem: "the name server does not answer", Empty: w.empty}
}

func (wrong) Run(ctx context.Context, _ func(membership.Candidate)) error {
	<-ctx.Done()
	return nil
}

// A node that can't know that it is alone does not start alone: not before its patience is over, and longer
// if it insists on what may yet come.
func TestAloneOrCutOff(t *testing.T) {
	never := time.Hour
	for name, tc := range map[string]struct {
		providers []membership.Provider
		expect    int
		insist    bool
		want      time.Duration // settled about then
		why       string
	}{
		"nobody listed":         {nil, 0, true, 0, ""},
		"nothing listens there": {[]membership.Provider{static{"b:1", "c:1"}}, 0, true, 0, ""},
		"one does not answer":   {[]membership.Provider{static{"b:1", "void:1"}}, 0, true, 30 * time.Second, "void:1 does not answer"},
		"no name": {
			[]membership.Provider{wrong{empty: true}},
			0, true, 30 * time.Second,
			"provider dns can't find members",
		},
		"no name server":          {[]membership.Provider{wrong{}}, 0, false, 30 * time.Second, "provider dns can't find members"},
		"no name server, wait":    {[]membership.Provider{wrong{}}, 0, true, never, "provider dns can't find members"},
		"two are expected":        {nil, 2, false, 30 * time.Second, "2 members are expected (membership.expect), 1 are here"},
		"two are expected, wait":  {nil, 2, true, never, "2 members are expected"},
		"no multicast, a list":    {[]membership.Provider{wrong{name: "mdns"}, static{"b:1"}}, 0, true, 0, ""},
		"no multicast":            {[]membership.Provider{wrong{name: "mdns"}}, 0, true, never, "provider mdns can't find members"},
		"a list of itself":        {[]membership.Provider{static{"a:1"}}, 0, true, 0, ""},
		"a member makes all good": {[]membership.Provider{static{"m:1", "void:1"}, wrong{}}, 2, true, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *cluster) {
				cl.void("a", "m")
				cl.start("m", nil)
				pass(2 * time.Second)
				a := cl.startWith("a", "a", tc.providers, func(c *channel.Config) {
					c.Expect, c.Patience, c.Insist = tc.expect, 30*time.Second, tc.insist
				})
				begin := time.Now()
				pass(5 * time.Second)
				if why := a.Waiting(); !strings.Contains(why, tc.why) || (why == "") != (tc.why == "") {
					t.Errorf("waits for %q, want %q", why, tc.why)
				}
				if tc.want == never {
					pass(20 * time.Minute)
					if a.settled() || a.log.count("not ready yet") < 15 || a.log.count("not ready yet") > 22 {
						t.Errorf("settled %v, log:\n%s", a.settled(), a.log)
					}
					return
				}
				cl.within(time.Minute, "settled", a.settled)
				if took := time.Since(begin); tc.want > 0 && (took < tc.want || took > tc.want+time.Second) {
					t.Errorf("settled after %v, want %v", took, tc.want)
				}
			})
		})
	}
}

// A node that finds, late, whom it expected is settled at once.
func TestExpectedMembersCome(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		expect := func(c *channel.Config) { c.Expect, c.Patience, c.Insist = 3, time.Minute, true }
		a := cl.start("a", nil, expect)
		b := cl.start("b", []string{"a:1"}, expect)
		pass(2 * time.Minute)
		if a.settled() || b.settled() {
			t.Error("settled before the third was there")
		}
		c := cl.start("c", []string{"a:1"}, expect)
		cl.within(3*time.Second, "settled", func() bool { return a.settled() && b.settled() && c.settled() })
	})
}
