package channel_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
)

// incarnation is one incarnation of a topic at a node, and its handler.
type incarnation struct {
	*box
	id    membership.ID // the node's name, and the incarnation
	topic *channel.Topic
}

// open adds the topic u.
func (cl *cluster) open(n *node) *incarnation {
	cl.incarnation++
	l := &incarnation{box: newBox(), id: membership.ID{Name: n.id.Name, Incarnation: cl.incarnation}}
	l.topic = n.Topic("u", l.id.Incarnation, l.box, nil)
	return l
}

// say sends a payload that names its sender's incarnation and its receiver's.
func (l *incarnation) say(to membership.ID, class channel.Class, i int) {
	l.put(to, class, fmt.Sprintf("%s>%s %d", l.id, to, i))
	l.topic.Wake(to, class, i%2 == 0)
}

// sound fails the test if a rule of Handler was broken, or a payload came to another incarnation than it
// was sent to, or from another.
func (l *incarnation) sound(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.record {
		if strings.HasPrefix(e, "WRONG") {
			t.Errorf("%s: handler called against the rules: %v", l.id, l.record)
		}
	}
	for from, classes := range l.got {
		for _, got := range classes {
			for i, p := range got {
				if !strings.HasPrefix(p, fmt.Sprintf("%s>%s ", from, l.id)) || slices.Contains(got[:i], p) {
					t.Errorf("%s got %q from %s", l.id, p, from)
				}
			}
		}
	}
}

// A topic that comes later is there for both once both have it; one that is closed is gone for the
// other node, and no link breaks.
func TestTopicComesAndGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, cl *cluster) {
		a, b, _ := cl.three()
		ours := cl.open(a)
		ours.say(b.id, channel.Live, 0)
		pass(time.Second)
		if e := ours.events(); len(e) != 0 {
			t.Errorf("before the other has the topic: %v", e)
		}
		theirs := cl.open(b)
		if !theirs.linked(ours.id) {
			t.Error("Topic has returned before the handler knew of the member that has the topic")
		}
		cl.within(10*time.Millisecond, "both know", func() bool { return ours.linked(theirs.id) })
		for _, class := range []channel.Class{channel.Live, channel.Bulk} {
			ours.say(theirs.id, class, 1)
			theirs.say(ours.id, class, 1)
			pass(5 * time.Millisecond)
			if len(ours.of(ours.got, theirs.id)[class]) != 1 || len(theirs.of(theirs.got, ours.id)[class]) != 1 {
				t.Errorf("class %d does not get through", class)
			}
		}
		theirs.topic.Close()
		again := cl.open(b)
		cl.within(10*time.Millisecond, "the next incarnation", func() bool { return ours.linked(again.id) })
		want := fmt.Sprint([]string{
			"up " + theirs.id.String(), "down " + theirs.id.String(), "gone " + theirs.id.String(), "up " + again.id.String(),
		})
		if got := fmt.Sprint(ours.events()); got != want {
			t.Errorf("a's handler was called for %s, want %s", got, want)
		}
		a.SetApps([]string{"shop"})
		cl.within(10*time.Millisecond, "what a hosts is known", func() bool {
			for _, m := range b.Members() {
				if m.ID == a.id {
					return m.Hosts("shop")
				}
			}
			return false
		})
		for _, l := range []*incarnation{ours, theirs, again} {
			l.sound(t)
		}
		if a.links(b) != 1 {
			t.Errorf("%d links", a.links(b))
		}
	})
}

// Topics come and go on all nodes while connections break and the network splits, and everybody
// talks: no handler hears of what is not its own, and in the end all who have the topic are joined.
func TestTopicsUnderFaults(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *cluster) { topicsUnderFaults(t, cl, rand.New(rand.NewPCG(seed, 1))) })
		})
	}
}

func topicsUnderFaults(t *testing.T, cl *cluster, rnd *rand.Rand) {
	t.Helper()
	a, b, c := cl.three()
	nodes := []*node{a, b, c}
	for i, n := range nodes {
		cl.net.Delay(n.host, nodes[(i+1)%3].host, time.Duration(rnd.IntN(20))*time.Millisecond)
	}
	now := map[*node]*incarnation{}
	var all []*incarnation
	toggle := func(n *node) {
		if l := now[n]; l != nil {
			l.topic.Close()
			delete(now, n)
			return
		}
		now[n] = cl.open(n)
		all = append(all, now[n])
	}
	talk := func(i int) {
		for _, l := range now {
			for _, to := range all {
				if l.linked(to.id) {
					l.say(to.id, channel.Class(rnd.IntN(2)), i)
				}
			}
		}
	}
	for i := range 400 {
		n, o := nodes[rnd.IntN(3)], nodes[rnd.IntN(3)]
		switch x := rnd.IntN(20); {
		case x < 3:
			toggle(n)
		case x < 6: // what is on its way must not come to the next incarnation
			talk(i)
			pass(time.Duration(rnd.IntN(10)) * time.Millisecond)
			toggle(n)
			toggle(n)
		case x < 8:
			cl.net.Reset(n.host, o.host)
		case x == 8 && n != o:
			cl.net.Cut(n.host, o.host)
			pass(time.Duration(rnd.IntN(6000)) * time.Millisecond)
			cl.net.Heal(n.host, o.host)
		default:
			talk(i)
		}
		pass(time.Duration(rnd.IntN(60)) * time.Millisecond)
	}
	for _, n := range nodes {
		if now[n] == nil {
			toggle(n)
		}
	}
	cl.within(20*time.Second, "joined", func() bool {
		for n, l := range now {
			for o, to := range now {
				if n != o && !l.linked(to.id) {
					return false
				}
			}
		}
		return true
	})
	pass(time.Second)
	for n, l := range now {
		for o, to := range now {
			if n != o {
				l.say(to.id, channel.Live, -1)
				l.say(to.id, channel.Bulk, -2)
			}
		}
	}
	pass(time.Second)
	for n, to := range now {
		for o, l := range now {
			came := func(text string) bool { return !to.came(fmt.Sprintf("%s>%s %s", l.id, to.id, text)).IsZero() }
			if n != o && (!came("-1") || !came("-2")) {
				t.Errorf("nothing comes from %s to %s: %v", l.id, to.id, to.events())
			}
		}
	}
	came := 0
	for _, l := range all {
		l.sound(t)
		for _, g := range l.got {
			came += len(g[channel.Live]) + len(g[channel.Bulk])
		}
	}
	if len(all) < 40 || came < 200 {
		t.Errorf("%d incarnations of topics, %d payloads: too few to mean anything", len(all), came)
	}
	for _, n := range nodes {
		n.sound(t)
	}
}
