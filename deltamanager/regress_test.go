package deltamanager_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/membership"
)

// What the simulator found and a small cluster shows as well. docs/RELIABILITY.md
// has the list with the seeds.

// drop loses what a core has to say to another.
func (c *cluster) drop(i, j int) {
	for _, bulk := range [...]bool{false, true} {
		for p := []byte{0}; p != nil; {
			p = c.cores[i].Pull(c.now, c.ids[j], bulk)
		}
	}
}

// gone breaks the link for good, as after a split longer than the failure detector waits.
func (c *cluster) gone(i, j int) {
	c.disconnect(i, j)
	c.cores[i].Gone(c.now, c.ids[j])
	c.cores[j].Gone(c.now, c.ids[i])
}

func (c *cluster) lastUse(i int, cookie deltamanager.CookieHash) time.Duration {
	c.t.Helper()
	info, ok := c.cores[i].Peek(c.now, cookie)
	if !ok {
		c.t.Fatalf("no session at %v", c.ids[i])
	}
	return info.LastAccess
}

func TestPartOfASessionIsNotTheWhole(t *testing.T) {
	a, b := loneCore(), loneCore()
	full := table.Delta{
		Key:  deltamanager.Key{1},
		Full: true,
		Regs: []table.Register{
			{
				ID:    nil,
				Stamp: deltamanager.Stamp{Clock: 1 << 20, Incarnation: 5},
				Value: deltamanager.Auth{CookieHash: deltamanager.CookieHash{1}}.Encode(),
			},
		},
	}
	part := full
	part.Full = false
	a.Apply(time.Hour, &full, table.Live)
	if v := b.Apply(time.Hour, &part, table.Live); !v.Missing {
		t.Errorf("a session in part is not asked for")
	}
	if a.Digest() == b.Digest() {
		t.Errorf("a session in part has the digest of the whole one")
	}
	if v := b.Apply(time.Hour, &part, table.Listed); v.Missing {
		t.Errorf("two members that have it in part ask each other for ever")
	}
	if _, ok := b.Peek(time.Hour, deltamanager.CookieHash{1}); ok {
		t.Errorf("a session in part is served")
	}
	b.Apply(time.Hour, &full, table.Listed)
	if a.Digest() != b.Digest() {
		t.Errorf("made whole, it has another digest")
	}
	checkSums(t, b)
}

func TestDeltasSayHowOldTheSessionIs(t *testing.T) {
	c := loneCore()
	late := table.Delta{
		Key:  deltamanager.Key{1},
		Age:  25 * time.Hour,
		Regs: []table.Register{{ID: nameOf("a"), Stamp: deltamanager.Stamp{Clock: 1 << 20, Incarnation: 5}, Value: []byte("x")}},
	}
	if v := c.Apply(time.Hour, &late, table.Live); v.Missing || c.Stats().Sessions != 0 {
		t.Errorf("a session beyond its lifetime came back")
	}
}

func TestUsesBeforeAReconnectKeepTheirAge(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	c.write(0, cookieHash(1), "n", "1")
	used := c.now
	c.drop(0, 1) // sent, and lost with the connection
	c.disconnect(0, 1)
	c.run(20 * time.Second)
	c.connect(0, 1)
	c.run(time.Second)
	if got := c.lastUse(1, cookieHash(1)); got > used+100*time.Millisecond {
		t.Errorf("the other member takes the session for used %v later than it was", got-used)
	}
}

func TestUsesDuringASplitAreToldAfterIt(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	c.gone(0, 1)
	c.run(10 * time.Minute)
	r, _, ok := c.cores[0].Open(c.now, cookieHash(1))
	if !ok {
		t.Fatal("the session is lost")
	}
	if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{}); err != nil {
		t.Fatal(err)
	}
	used := c.now
	c.run(time.Minute)
	c.connect(0, 1)
	c.run(2 * time.Second)
	if got := c.lastUse(1, cookieHash(1)); got < used-time.Second {
		t.Errorf("the other member takes the session for used %v earlier than it was", used-got)
	}
}

func TestLateFrameOfTheDeadMakesNoLink(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(1, 1)
	late := c.cores[1].Pull(c.now, c.ids[0], false)
	c.gone(0, 1)
	if err := c.cores[0].Receive(c.now, c.ids[1], false, late); err != nil {
		t.Fatal(err)
	}
	if links := c.cores[0].Stats().Links; len(links) != 0 {
		t.Errorf("a dead member is linked: %v", links)
	}
	c.connect(0, 1)
	c.run(time.Second)
	c.wantSame()
}

func TestMemberNeverConnectedIsForgotten(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	lone := loneCore()
	if err := lone.Receive(time.Second, c.ids[1], false, c.cores[1].Pull(c.now+time.Second, c.ids[0], false)); err != nil {
		t.Fatal(err)
	}
	for now := time.Second; now < 2*deltamanager.LinkLife; now += time.Second {
		lone.Tick(now)
	}
	if links := lone.Stats().Links; len(links) != 0 {
		t.Errorf("a silent member is linked for ever: %v", links)
	}
}

func TestFlushedIsNotWhatWasLeftOut(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	if !c.cores[0].Flushed() {
		t.Errorf("an idle node is not flushed")
	}
	c.disconnect(0, 1)
	for n := range 3000 { // more than the log holds
		c.create(0, n)
	}
	c.cores[0].Connected(c.now, c.ids[1])
	c.drop(0, 1) // the overflow shows here
	if c.cores[0].Flushed() {
		t.Errorf("flushed, though changes were left out and not repaired")
	}
	c.connect(0, 1)
	c.run(3 * time.Second)
	if !c.cores[0].Flushed() {
		t.Errorf("not flushed after repair")
	}
	c.wantSame()
}

func TestPauseIsRepairedByAnswersNotByOldHeartbeats(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	old := c.cores[0].Pull(c.now+time.Second, c.ids[1], false) // a heartbeat, held back
	c.now += 5 * time.Second                                   // node 1 did not run meanwhile
	if c.cores[1].Enter(c.now) {
		t.Errorf("a pause was not noticed")
	}
	if err := c.cores[1].Receive(c.now, c.ids[0], false, old); err != nil {
		t.Fatal(err)
	}
	c.cores[1].Tick(c.now)
	if c.cores[1].Ready() {
		t.Errorf("a heartbeat from before the end of the pause made the node ready")
	}
	c.run(2 * time.Second)
	c.wantSame()
}

func TestLoginOvertakesABacklog(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	for n := range 600 {
		c.create(0, n)
	}
	r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
	if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{Invalidate: true}); err != nil {
		t.Fatal(err)
	}
	p := c.cores[0].Pull(c.now, c.ids[1], true)
	if p == nil {
		t.Fatal("nothing was sent ahead of the backlog")
	}
	if err := c.cores[1].Receive(c.now, c.ids[0], true, p); err != nil {
		t.Fatal(err)
	}
	if !c.cores[1].Dead(r.Key()) {
		t.Errorf("the logout has not arrived")
	}
}

// What overtakes a backlog is applied before it, and counts as applied after it.
func TestOvertakingConfirmsNothing(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	r := c.create(0, 0)
	for n := range 600 {
		c.create(0, 1+n)
	}
	receipt, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{Invalidate: true})
	if err != nil {
		t.Fatal(err)
	}
	w := c.cores[0].Expect(receipt, deltamanager.All)
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		for p := c.cores[way[0]].Pull(c.now, c.ids[way[1]], true); p != nil; p = c.cores[way[0]].Pull(c.now, c.ids[way[1]], true) {
			if err := c.cores[way[1]].Receive(c.now, c.ids[way[0]], true, p); err != nil {
				t.Fatal(err)
			}
		}
	}
	if done, applied, _ := outcome(w); done || applied != 0 || !c.cores[1].Dead(r.Key()) {
		t.Errorf("done=%v applied=%d dead=%v before the backlog", done, applied, c.cores[1].Dead(r.Key()))
	}
	c.run(100 * time.Millisecond)
	if done, applied, _ := outcome(w); !done || applied != 1 {
		t.Errorf("done=%v applied=%d after the backlog", done, applied)
	}
}

// A removed attribute does not come back with what a member had that was cut off.
func TestRemovedStaysRemovedAndCounts(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	r := c.create(0, 1)
	c.write(0, cookieHash(1), "n", "old")
	c.run(time.Second)
	c.gone(0, 1)
	if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n", Value: nil}}}); err != nil {
		t.Fatal(err)
	}
	c.run(20 * time.Minute)
	for i := range c.cores { // used on both sides, so that it lives
		c.write(i, cookieHash(1), "m", "x")
	}
	c.run(20 * time.Minute)
	c.connect(0, 1)
	c.run(2 * time.Second)
	c.wantSame()
	for i := range c.cores {
		c.wantAt(i, cookieHash(1), "n", "")
	}
	for n := range deltamanager.MaxNames - 2 { // beside n and m
		c.write(0, cookieHash(1), "n"+strconv.Itoa(n), "x")
		if _, err := c.cores[0].Commit(
			c.now,
			r,
			deltamanager.Tx{Writes: []deltamanager.Write{{Name: "n" + strconv.Itoa(n), Value: nil}}},
		); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.cores[0].Commit(
		c.now,
		r,
		deltamanager.Tx{Writes: []deltamanager.Write{{Name: "one more", Value: []byte("x")}}},
	); !errors.Is(err, deltamanager.ErrTooLarge) {
		t.Errorf("beyond all names: %v", err)
	}
}

func TestUserReadsWhatHeWroteElsewhere(t *testing.T) {
	c := newCluster(t, 3, func(cfg *deltamanager.Config) { cfg.FreshnessWait = 50 * time.Millisecond })
	c.run(time.Second)
	c.create(0, 1)
	c.run(time.Second)
	c.write(0, cookieHash(1), "n", "1")
	r, _, _ := c.cores[0].Open(c.now, cookieHash(1))
	tokens := r.Tokens(c.now, nil)
	if len(tokens) != 1 || tokens[0].Name != "n1" {
		t.Fatalf("tokens %v", tokens)
	}
	if again := r.Tokens(c.now, tokens); len(again) != 0 {
		t.Errorf("what the user came with is set again: %v", again)
	}
	q := c.cores[1].CatchUp(c.now, cookieHash(1), tokens, nil)
	if q == nil || isDone(q) {
		t.Fatal("the other node does not ask for what it lacks")
	}
	c.exchange(1, 0)
	c.exchange(0, 1)
	if !isDone(q) || c.cores[1].Close(q) || c.read(1, cookieHash(1), "n") != "1" {
		t.Errorf("the other node does not show the write")
	}
	other, _, _ := c.cores[1].Open(c.now, cookieHash(1))
	if seen := other.Tokens(c.now, nil); len(seen) != 1 || seen[0].Name != "n1.n2" || seen[0].Stamp != tokens[0].Stamp {
		t.Errorf("what n2 shows of n1's writes is told as %v", seen)
	}
	c.run(time.Second)
	if q := c.cores[2].CatchUp(c.now, cookieHash(1), tokens, nil); q != nil {
		t.Errorf("a node that has the write asks for it")
	}
	c.gone(2, 0)
	q = c.cores[2].CatchUp(c.now, cookieHash(1), tokens, nil)
	c.exchange(2, 1)
	c.exchange(1, 2)
	if q == nil || !isDone(q) || !c.cores[2].Close(q) {
		t.Errorf("a node that can't reach the origin does not say so")
	}
	q = c.cores[2].CatchUp(c.now, deltamanager.CookieHash{9}, nil, nil)
	if q != nil {
		t.Errorf("an unknown id without a token was asked for while nothing is missing")
	}
	if q = c.cores[2].CatchUp(c.now, deltamanager.CookieHash{9}, tokens, nil); q != nil {
		t.Errorf("an unknown id was asked for by a token for another one")
	}
	token, _ := c.cores[0].Keys().Sign(deltamanager.CookieHash{9}, tokens[0].Stamp, "n1")
	q = c.cores[2].CatchUp(c.now, deltamanager.CookieHash{9}, []deltamanager.Token{token}, nil)
	c.disconnect(2, 1)
	if q == nil || !isDone(q) || !c.cores[2].Close(q) {
		t.Errorf("a question to a member that has gone is not answered")
	}
}

func isDone(q *deltamanager.CatchUp) bool {
	select {
	case <-q.Done():
		return true
	default:
		return false
	}
}

// A member whose changes were left out begins the repair at once, whatever its name.
func TestOverflowIsRepairedAtOnce(t *testing.T) {
	for _, way := range [][2]int{{0, 1}, {1, 0}} {
		c := newCluster(t, 2)
		c.run(time.Second)
		c.cut[way] = true
		for n := range 3000 { // more than the log holds
			c.create(way[0], n)
		}
		c.cut[way] = false
		c.run(100 * time.Millisecond)
		c.wantSame()
	}
}

// What one side can't read keeps the two different for ever: they look at it less and
// less often, and at once again when something else differs.
func TestPoisonIsLookedAtLessAndLess(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	bad := deltamanager.Tx{Writes: []deltamanager.Write{{Name: strings.Repeat("x", deltamanager.MaxName+1), Value: []byte("v")}}}
	if _, _, err := c.cores[0].Create(c.now, cookieHash(1), bad); err != nil {
		t.Fatal(err)
	}
	repairs := func() int64 { return c.cores[0].Stats().Repairs + c.cores[1].Stats().Repairs }
	c.run(5 * time.Minute)
	before := repairs()
	c.run(10 * time.Minute)
	if n := repairs() - before; n < 2 || n > 8 {
		t.Errorf("%d comparisons in 10 minutes", n)
	}
	c.create(0, 2)
	c.drop(0, 1)
	c.disconnect(0, 1)
	c.connect(0, 1)
	before = repairs()
	c.run(time.Minute)
	if n := repairs() - before; n < 2 {
		t.Errorf("%d comparisons in the first minute of a connection", n)
	}
	c.wantAt(1, cookieHash(2), "n", "")
}

// A repair that confirms looks twice, the second time at what differed at the first only:
// what is left out between the two looks is not repaired by it.
func TestOverflowBetweenTwoLooksIsRepaired(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	for n := range 100 {
		c.create(1, 10+n)
	}
	c.run(time.Second)
	odd := table.Delta{
		Key:  deltamanager.Key{1},
		Full: true,
		Regs: []table.Register{
			{
				ID:    nil,
				Stamp: deltamanager.Stamp{Clock: 1 << 20, Incarnation: 5},
				Value: deltamanager.Auth{CookieHash: deltamanager.CookieHash{1}}.Encode(),
			},
		},
	}
	c.cores[0].Apply(c.now, &odd, table.Listed) // by no stream: the roots differ for good
	for end := c.now + time.Minute; !c.cores[0].LooksTwice(c.ids[1]); c.run(10 * time.Millisecond) {
		if c.now > end {
			t.Fatal("no repair that confirms within a minute")
		}
	}
	c.cut[[2]int{1, 0}] = true
	for n := range 3000 { // more than the log holds
		c.write(1, cookieHash(10+n%100), "n", strconv.Itoa(n))
	}
	c.cut[[2]int{1, 0}] = false
	c.run(2 * time.Second) // far less than the time between two looks at the roots
	c.wantSame()
}

// A joiner hears of a use before it has the session, from a member that it can't ask yet.
// Meanwhile it gets the session from somebody who has missed the use.
func TestUseHeardBeforeTheSessionIsNotLost(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	r := c.create(0, 1)
	c.run(10 * time.Minute)
	c.disconnect(0, 1)
	c.start()
	c.disconnect(0, 2)
	c.disconnect(1, 2)
	c.cut[[2]int{0, 2}] = false
	c.cores[0].Connected(c.now, c.ids[2])
	c.run(500 * time.Millisecond) // uses of before are told
	used := c.now
	if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{}); err != nil {
		t.Fatal(err)
	}
	c.run(50 * time.Millisecond)
	c.connect(1, 2)
	c.run(500 * time.Millisecond)
	if got := c.lastUse(2, cookieHash(1)); got > used-9*time.Minute {
		t.Fatalf("the joiner knows of the use without having asked: %v", got)
	}
	woken := map[membership.ID]bool{}
	c.woken[2].told = func(to membership.ID, bulk bool) { woken[to] = woken[to] || bulk }
	c.cut[[2]int{2, 0}] = false
	c.cores[2].Connected(c.now, c.ids[0])
	if !woken[c.ids[0]] {
		t.Errorf("what was to be asked is not asked when the member can be")
	}
	c.exchange(2, 0)
	c.exchange(0, 2)
	if got := c.lastUse(2, cookieHash(1)); got < used-time.Second {
		t.Errorf("the joiner takes the session for used %v earlier than it was", used-got)
	}
}

// A link that breaks before uses were told again has told nothing: the next one must.
func TestUsesAreToldAgainAfterASecondSplit(t *testing.T) {
	for _, heard := range []bool{false, true} { // whether anything of the other member comes through
		c := newCluster(t, 2)
		c.run(time.Second)
		r := c.create(0, 1)
		c.run(time.Second)
		c.gone(0, 1)
		c.run(10 * time.Minute)
		if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{}); err != nil {
			t.Fatal(err)
		}
		used := c.now
		c.run(time.Minute)
		c.connect(0, 1)
		c.cut[[2]int{0, 1}], c.cut[[2]int{1, 0}] = true, !heard
		c.run(500 * time.Millisecond)
		c.gone(0, 1)
		c.run(time.Minute)
		c.connect(0, 1)
		c.run(2 * time.Second)
		if got := c.lastUse(1, cookieHash(1)); got < used-time.Second {
			t.Errorf("heard=%v: the other member takes the session for used %v earlier than it was", heard, used-got)
		}
	}
}

// A member that is met for the first time and has sessions may have been out of reach for long: that
// the sessions are the same says nothing of when they were used.
func TestStrangerWithSessionsIsToldOfAllUses(t *testing.T) {
	c := newCluster(t, 1)
	id := membership.ID{Name: "n2", Incarnation: 101}
	other := deltamanager.NewCore(testConfig(id), new(wakings))
	other.Settle()
	c.ids, c.cores = append(c.ids, id), append(c.cores, other)
	c.cut[[2]int{0, 1}], c.cut[[2]int{1, 0}] = true, true
	c.run(time.Second)
	r := c.create(0, 1)
	same := r.Session().Full(c.now)
	other.Apply(c.now, &same, table.Listed)
	c.run(5 * time.Minute)
	if _, err := c.cores[0].Commit(c.now, r, deltamanager.Tx{}); err != nil {
		t.Fatal(err)
	}
	used := c.now
	c.run(10 * time.Minute)
	c.connect(0, 1)
	c.run(2 * time.Second)
	if got := c.lastUse(1, cookieHash(1)); got < used-time.Second {
		t.Errorf("the other member takes the session for used %v earlier than it was", used-got)
	}
}

// A node that joins asks, and serves as soon as it has heard, not when its clock next ticks.
func TestJoinNeedsNoTick(t *testing.T) {
	c := newCluster(t, 2)
	c.run(time.Second)
	for n := range 1000 {
		c.create(n%2, n)
	}
	c.run(time.Second)
	i := c.start()
	for range 20 {
		for j := range i {
			c.exchange(j, i)
			c.exchange(i, j)
		}
	}
	if !c.cores[i].Ready() || c.cores[i].Table().Sessions() != 1000 {
		t.Errorf("ready: %v, with %d of 1000 sessions", c.cores[i].Ready(), c.cores[i].Table().Sessions())
	}
	c.wantSame()
}

// What seems unused for too long here may have been used elsewhere a moment ago:
// that is asked, as for a session that is unknown.
func TestWhatSeemsExpiredIsAskedFor(t *testing.T) {
	c := newCluster(t, 0)
	for range 2 {
		c.join(func(cfg *deltamanager.Config) { cfg.FreshnessWait = 50 * time.Millisecond })
	}
	c.run(time.Second)
	inactive := 8 * time.Second
	r, _, err := c.cores[0].Create(c.now, cookieHash(1), deltamanager.Tx{MaxInactive: &inactive})
	if err != nil {
		t.Fatal(err)
	}
	tokens := r.Tokens(c.now, nil)
	c.run(7 * time.Second)
	c.disconnect(0, 1)
	c.write(1, cookieHash(1), "a", "x")
	c.now += 2500 * time.Millisecond // no tick: nobody has swept
	if q := c.cores[0].CatchUp(c.now, cookieHash(1), tokens, nil); q == nil || !isDone(q) || !c.cores[0].Close(q) {
		t.Error("a node that can ask nobody does not say so")
	}
	c.connect(0, 1)
	if _, ok := c.cores[0].Peek(c.now, cookieHash(1)); ok {
		t.Fatal("the session is not over yet for the first node")
	}
	q := c.cores[0].CatchUp(c.now, cookieHash(1), tokens, nil)
	if q == nil {
		t.Fatal("the other node is not asked")
	}
	for range 3 {
		c.exchange(0, 1)
		c.exchange(1, 0)
	}
	if c.cores[0].Close(q) {
		t.Error("the answer is missing")
	}
	if _, ok := c.cores[0].Peek(c.now, cookieHash(1)); !ok {
		t.Error("the session is over though it is in use")
	}
}
