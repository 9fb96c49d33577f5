package channel

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// event happens to a dialing at a time after its begin.
type event struct {
	at   time.Duration
	do   func(t *dialing, now time.Time) string
	want string // what it answers; text of log lines after their level
}

// words is a step in words, in a fixed order.
func (s dialStep) words() string {
	var words []string
	if s.dial {
		words = append(words, "dial")
	}
	for _, addr := range s.forget {
		words = append(words, "forget "+addr)
	}
	if s.changed {
		words = append(words, "problem changed")
	}
	if s.settled {
		words = append(words, "settled")
	}
	if s.stop != nil {
		words = append(words, fmt.Sprintf("stop %T", s.stop))
	}
	for _, l := range s.lines {
		words = append(words, fmt.Sprintf("%v %s", l.level, l.text))
	}
	return strings.Join(words, ", ")
}

func proposed(addr string, rank standing) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string { return t.propose(now, addr, rank).words() }
}

func dialFailed(addr string, err error) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string {
		s, again := t.failed(now, addr, err)
		if !again {
			return strings.TrimPrefix(s.words()+", end", ", ")
		}
		return s.words()
	}
}

func linkUp(addr string) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string {
		t.linking(addr)
		t.joined = true
		return t.up(now, addr).words()
	}
}

func linkEnded(addr string) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string {
		t.ended(now, addr, false)
		return ""
	}
}

func aliasEnded(addr string) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string {
		t.ended(now, addr, true)
		return ""
	}
}

func paused(addr string) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string { return t.pause(now, addr).String() }
}

// settles is a settle with members alive besides the node, and with providers.
func settles(members int, finders ...finder) func(*dialing, time.Time) string {
	return func(t *dialing, now time.Time) string {
		list := make([]membership.Status, members)
		for i := range list {
			list[i].State = membership.Alive
		}
		return t.settle(now, list, append([]finder{asked}, finders...)).words()
	}
}

var (
	asked    = finder{"static", membership.Stats{Queries: 1}}
	problem  = finder{"dns", membership.Stats{Queries: 1, Problem: "no answer"}}
	empty    = finder{"dns", membership.Stats{Queries: 1, Problem: "no such name", Empty: true}}
	noAsking = finder{"dns", membership.Stats{}}

	errSilent  = errors.New("no welcome")
	duplicated = &Refusal{Reason: RefusedDuplicate, Holder: membership.Member{ID: membership.ID{Name: "n", Incarnation: 9}}}
	superseded = &Refusal{Reason: RefusedSuperseded}
	foreign    = &Refusal{Reason: RefusedCluster, Text: "cluster names differ"}
)

func newcomer(incarnation uint64) *Refusal {
	return &Refusal{
		Reason: RefusedDuplicate, Own: true, Newcomer: true,
		Holder: membership.Member{ID: membership.ID{Name: "n", Incarnation: incarnation}},
	}
}

const (
	noAnswer   = "WARN the address does not answer, the node keeps dialling it"
	someIgnore = "WARN too many addresses to dial, the node ignores some"
	madeUp     = "WARN an address found by mdns leads to no member of this cluster"
)

func TestDialing(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg    Config
		events []event
	}{
		"proposals": {events: []event{
			{0, proposed("", listed), ""},
			{0, proposed("self:1", listed), ""},
			{0, proposed("a:1", unproven), "dial"},
			{0, proposed("a:1", listed), ""},
		}},
		"the pause grows to its limit": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, paused("a:1"), "50ms"},
			{0, paused("a:1"), "100ms"},
			{0, paused("a:1"), "200ms"},
			{0, paused("a:1"), "400ms"},
			{0, paused("a:1"), "800ms"},
			{0, paused("a:1"), "1.6s"},
			{0, paused("a:1"), "2s"},
			{0, paused("a:1"), "2s"},
			{0, func(t *dialing, _ time.Time) string { t.nudged("a:1"); return "" }, ""},
			{0, paused("a:1"), "50ms"},
		}},
		"a member that was linked lately is dialled more often": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, linkUp("a:1"), ""},
			{time.Minute, linkEnded("a:1"), ""},
			{time.Minute, paused("a:1"), "50ms"},
			{time.Minute, dialFailed("a:1", errSilent), "DEBUG dial"},
			{time.Minute + 9*time.Second, dialFailed("a:1", errSilent), "DEBUG dial"},
			{time.Minute + 9*time.Second, func(t *dialing, _ time.Time) string { t.rows["a:1"].wait = time.Second; return "" }, ""},
			{time.Minute + 9*time.Second, paused("a:1"), "800ms"},
			{11 * time.Minute, paused("a:1"), "1.6s"},
		}},
		"an alias waits for the member's own address": {events: []event{
			{0, proposed("alias:1", listed), "dial"},
			{0, dialFailed("alias:1", errAlias), ""},
			{0, linkUp("alias:1"), ""},
			{time.Second, aliasEnded("alias:1"), ""},
			{11 * time.Minute, paused("alias:1"), "2s"},
		}},
		"an unproven address expires 15 s after it was proposed last": {events: []event{
			{0, proposed("a:1", unproven), "dial"},
			{time.Second, dialFailed("a:1", errSilent), ""},
			{2 * time.Second, proposed("a:1", unproven), ""},
			{17 * time.Second, dialFailed("a:1", errSilent), madeUp},
			{18 * time.Second, dialFailed("a:1", errSilent), "forget a:1, " + madeUp + ", end"},
			{18 * time.Second, proposed("a:1", unproven), "dial"},
		}},
		"an announced address expires after ten minutes of failure": {events: []event{
			{0, proposed("a:1", announced), "dial"},
			{11 * time.Second, dialFailed("a:1", errSilent), noAnswer},
			{lately, dialFailed("a:1", errSilent), "DEBUG dial"},
			{lately + time.Second, dialFailed("a:1", errSilent), "forget a:1, DEBUG dial, end"},
		}},
		"a listed address expires when it is listed no more": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{lately, proposed("a:1", listed), ""},
			{2 * lately, dialFailed("a:1", errSilent), noAnswer},
			{2*lately + time.Second, dialFailed("a:1", errSilent), "forget a:1, DEBUG dial, end"},
		}},
		"an unproven address that was linked is a member's": {events: []event{
			{0, proposed("a:1", unproven), "dial"},
			{0, linkUp("a:1"), ""},
			{time.Second, linkEnded("a:1"), ""},
			{time.Minute, dialFailed("a:1", errSilent), noAnswer},
		}},
		"this node itself": {events: []event{
			{0, proposed("alias:1", listed), "dial"},
			{0, dialFailed("alias:1", &Refusal{Reason: RefusedSelf}), "end"},
			{time.Second, settles(0), "settled"},
		}},
		"the name is taken: a newcomer ends after DownAfter": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{time.Second, dialFailed("a:1", duplicated), "WARN node refused by a member"},
			{time.Second, paused("a:1"), "50ms"},
			{time.Second, settles(0), ""},
			{3 * time.Second, dialFailed("a:1", duplicated), "WARN node refused by a member"},
			{4 * time.Second, dialFailed("a:1", duplicated), "stop *channel.DuplicateNameError, WARN node refused by a member"},
		}},
		"the name is taken by another newcomer": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, dialFailed("a:1", newcomer(6)), "WARN node refused by a member"},
			{4 * time.Second, dialFailed("a:1", newcomer(6)), "WARN node refused by a member"},
			{4 * time.Second, dialFailed("a:1", newcomer(4)), "WARN node refused by a member"},
			{8 * time.Second, dialFailed("a:1", newcomer(4)), "stop *channel.DuplicateNameError, WARN node refused by a member"},
		}},
		"the name is taken, for a member": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, proposed("b:1", listed), "dial"},
			{0, linkUp("a:1"), ""},
			{5 * time.Second, dialFailed("b:1", newcomer(1)), "WARN node refused by a member"},
			{5 * time.Second, dialFailed("b:1", duplicated), "problem changed, WARN node refused by a member"},
			{6 * time.Second, dialFailed("b:1", superseded), "WARN node refused by a member"},
			{7 * time.Second, linkUp("b:1"), "problem changed"},
		}},
		"a stray node ends": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, dialFailed("a:1", foreign), "WARN node refused by a member"},
			{time.Second, settles(0), "stop *channel.StrayError"},
		}},
		"a stranger found by mdns ends nobody": {events: []event{
			{0, proposed("a:1", unproven), "dial"},
			{0, dialFailed("a:1", foreign), madeUp},
			{time.Second, settles(0), "settled"},
		}},
		"plain text once may be a node that stops": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, dialFailed("a:1", ErrPlain), ""},
			{time.Second, settles(0), ""},
			{time.Second, dialFailed("a:1", ErrPlain), "WARN no connection, the security of the two nodes differs"},
			{time.Second, settles(0), "stop *channel.StrayError"},
		}},
		"nothing before providers and dials had their time": {events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, settles(0), ""},
			{time.Second, settles(0), ""},
			{time.Second, dialFailed("a:1", ErrRefused), "DEBUG dial"},
			{time.Second, settles(0, noAsking), ""},
			{time.Second, settles(0), "settled"},
			{time.Second, settles(0), ""},
		}},
		"two seconds for unproven addresses": {events: []event{
			{0, proposed("a:1", unproven), "dial"},
			{unprovenTime - 1, settles(0), ""},
			{unprovenTime, settles(0), "settled"},
		}},
		"an address that does not answer is waited for": {cfg: Config{Patience: time.Minute}, events: []event{
			{0, proposed("a:1", listed), "dial"},
			{2 * time.Second, dialFailed("a:1", errSilent), "DEBUG dial"},
			{2 * time.Second, settles(0), ""},
			{3 * time.Second, settles(0), "WARN not ready yet"},
			{time.Minute, settles(0), "settled, WARN the node starts all the same"},
		}},
		"a member makes all good": {cfg: Config{Patience: time.Minute}, events: []event{
			{0, proposed("a:1", listed), "dial"},
			{0, proposed("b:1", listed), "dial"},
			{0, linkUp("a:1"), ""},
			{0, settles(1, problem), ""},
			{0, dialFailed("b:1", errSilent), "DEBUG dial"},
			{0, settles(1, problem), "settled"},
		}},
		"expected members": {cfg: Config{Patience: time.Minute, Expect: 3, Insist: true}, events: []event{
			{time.Second, settles(1), ""},
			{time.Hour, settles(1), "WARN not ready yet"},
			{time.Hour, settles(2), "settled"},
		}},
		"a provider that fails": {cfg: Config{Patience: time.Minute, Insist: true}, events: []event{
			{time.Hour, settles(0, problem), "WARN not ready yet"},
			{time.Hour, settles(0, empty), "settled, WARN the node starts all the same"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.Self = membership.Member{ID: membership.ID{Name: "n", Incarnation: 5}, ChannelAddress: "self:1"}
			d, begin := newDialing(tc.cfg.withDefaults()), time.Unix(1e9, 0)
			d.begun = begin
			for i, e := range tc.events {
				if got := e.do(&d, begin.Add(e.at)); got != e.want {
					t.Fatalf("event %d at %v: %q, want %q", i, e.at, got, e.want)
				}
			}
		})
	}
}

// Each standing has a quota. A full one takes a new address in place of one that has been failing.
func TestDialingQuota(t *testing.T) {
	for _, rank := range []standing{unproven, announced, listed} {
		d, now := newDialing(Config{}.withDefaults()), time.Unix(1e9, 0)
		for i := range maxCandidates {
			if s := d.propose(now.Add(time.Duration(i)), fmt.Sprintf("a%02d:1", i), rank); !s.dial {
				t.Fatalf("address %d of %d is not dialled", i, maxCandidates)
			}
		}
		want := someIgnore // all others are being dialled
		if rank == unproven {
			want = "dial, forget a00:1, " + someIgnore
		}
		if got := d.propose(now, "x:1", rank).words(); got != want {
			t.Errorf("standing %d: %q, want %q", rank, got, want)
		}
		d.linking("a02:1")
		d.up(now, "a02:1")
		if d.rows["a02:1"].rank == rank { // else it has left the quota
			if s, again := d.failed(now, "a07:1", ErrRefused); s.forget != nil || !again {
				t.Errorf("standing %d: a dial failed: %q", rank, s.words())
			}
			if got, want := d.propose(now, "y:1", rank).words(), "dial, forget a07:1"; got != want {
				t.Errorf("standing %d: %q, want %q", rank, got, want)
			}
		}
		for other := range listed + 1 {
			if s := d.propose(now, fmt.Sprintf("other%d:1", other), other); other != rank && !s.dial {
				t.Errorf("standing %d keeps out standing %d", rank, other)
			}
		}
	}
}

// What lasts is one line, what others can cause is one a minute with a count.
func TestBook(t *testing.T) {
	var b book
	now := time.Unix(1e9, 0)
	for range 3 {
		b.add(now, warn("lasting").once("a", "x"))
		b.add(now, warn("caused").seldom("k"))
	}
	b.add(now, warn("lasting").once("a", "y"))
	b.clear("a")
	b.add(now, warn("lasting").once("a", "y"))
	b.add(now.Add(rarely), warn("caused", "n", 4).seldom("k"))
	var got []string
	for _, l := range b.lines {
		got = append(got, fmt.Sprint(l.text, l.args))
	}
	want := []string{"lasting[]", "caused[]", "lasting[]", "lasting[]", "caused[n 4 more 2]"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("lines %q, want %q", got, want)
	}
}
