package deltamanager_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/token"
)

// freshCluster is a cluster whose nodes ask for what their users have seen.
func freshCluster(t testing.TB, n int, change ...func(*deltamanager.Config)) *cluster {
	t.Helper()
	c := newCluster(t, 0)
	for range n {
		c.join(func(cfg *deltamanager.Config) {
			cfg.FreshnessWait = 50 * time.Millisecond
			for _, f := range change {
				f(cfg)
			}
		})
	}
	c.run(2 * time.Second)
	return c
}

// asks counts what the core asks while f runs.
func (c *cluster) asks(i int, f func()) int64 {
	before := c.cores[i].Stats().Asks
	f()
	return c.cores[i].Stats().Asks - before
}

// freshAtN2 makes a request's look for what is missing at n2, and lets all be answered. It
// reports whether something could not be had.
func (c *cluster) freshAtN2(cookie deltamanager.CookieHash, tokens []deltamanager.Token) (stale bool) {
	q := c.cores[1].CatchUp(c.now, cookie, tokens, nil)
	for range 3 {
		for j := range c.cores {
			if j != 1 {
				c.exchange(1, j)
				c.exchange(j, 1)
			}
		}
	}
	return c.cores[1].Close(q)
}

// tokens are those that node i gives to the user of the session.
func (c *cluster) tokens(i int, cookie deltamanager.CookieHash) []deltamanager.Token {
	c.t.Helper()
	r, _, ok := c.cores[i].Open(c.now, cookie)
	if !ok {
		c.t.Fatalf("%v does not know the session", c.ids[i])
	}
	return r.Tokens(c.now, nil)
}

// Whatever is not the very token that a member gave out for the very session asks for
// nothing and moves no clock.
func TestForgedTokensCauseNothing(t *testing.T) {
	c := freshCluster(t, 3)
	c.create(0, 1)
	c.create(0, 2)
	c.run(time.Second)
	c.write(0, cookieHash(1), "n", "1")
	c.write(0, cookieHash(2), "n", "1")
	token, other := c.tokens(0, cookieHash(1))[0], c.tokens(0, cookieHash(2))[0]
	bent := func(f func(*deltamanager.Token)) deltamanager.Token {
		b := token
		f(&b)
		return b
	}
	forged := map[string]deltamanager.Token{
		"another session's":           other,
		"a clock one higher":          bent(func(t *deltamanager.Token) { t.Stamp.Clock++ }),
		"an hour ahead":               bent(func(t *deltamanager.Token) { t.Stamp.Clock += 3600_000 << 16 }),
		"another incarnation":         bent(func(t *deltamanager.Token) { t.Stamp.Incarnation = c.ids[2].Incarnation }),
		"an incarnation nobody knows": bent(func(t *deltamanager.Token) { t.Stamp.Incarnation = 9 }),
		"another name":                bent(func(t *deltamanager.Token) { t.Name = "n3" }),
		"a longer name":               bent(func(t *deltamanager.Token) { t.Name += "\x00" }),
		"an endless name":             bent(func(t *deltamanager.Token) { t.Name = strings.Repeat("n", 1000) }),
		"no MAC":                      bent(func(t *deltamanager.Token) { t.MAC = deltamanager.MAC{} }),
		"a MAC off by one bit":        bent(func(t *deltamanager.Token) { t.MAC[7] ^= 1 }),
	}
	for what, f := range forged {
		for _, cookie := range []deltamanager.CookieHash{cookieHash(1), {9}} {
			clock, refused := c.cores[1].Clock().Read(), c.cores[1].Stats().TokensRefused
			if n := c.asks(1, func() { c.cores[1].Close(c.cores[1].CatchUp(c.now, cookie, []deltamanager.Token{f}, nil)) }); n != 0 {
				t.Errorf("%s: %d questions", what, n)
			}
			if c.cores[1].Clock().Read() != clock {
				t.Errorf("%s: the clock was moved", what)
			}
			if got := c.cores[1].Stats().TokensRefused; got != refused+1 {
				t.Errorf("%s: %d tokens are counted as refused", what, got-refused)
			}
		}
	}
	if n := c.asks(1, func() { c.freshAtN2(cookieHash(1), []deltamanager.Token{token}) }); n != 1 || c.read(1, cookieHash(1), "n") != "1" {
		t.Errorf("the token itself: %d questions", n)
	}
}

// Tokens are worth something for TokenLife. Who uses them after that has as many questions as
// somebody who makes up ids, and is told that what they name is missing.
func TestOldTokensSpendABudget(t *testing.T) {
	c := freshCluster(t, 2)
	c.create(0, 1)
	c.run(time.Second)
	s := deltamanager.Stamp{Clock: c.cores[0].Clock().Read() + 1<<16, Incarnation: c.ids[0].Incarnation}
	c.cut[[2]int{0, 1}] = true // n1 writes on, and n2 does not hear of it
	for _, x := range []struct {
		after time.Duration
		most  int64
	}{{0, 500}, {deltamanager.TokenLife, 500}, {2 * table.ClockSlack, deltamanager.AskAtOnce + 1}} {
		c.run(x.after)
		for who, cookie := range []deltamanager.CookieHash{cookieHash(1), {7}} { // known, unknown
			token := mint(c, 0, cookie, s)
			if n := c.asks(1, func() {
				for range 500 {
					if !c.cores[1].Close(c.cores[1].CatchUp(c.now, cookie, token, client(who))) {
						t.Fatalf("after %v more, %v: nobody says that something is missing", x.after, cookie[0])
					}
				}
			}); n > x.most || n < x.most-1 {
				t.Errorf("after %v more, %v: %d questions, want %d", x.after, cookie[0], n, x.most)
			}
		}
	}
}

// mint makes a token as node i does.
func mint(c *cluster, i int, cookie deltamanager.CookieHash, s deltamanager.Stamp) []deltamanager.Token {
	token, _ := c.cores[i].Keys().Sign(cookie, s, c.ids[i].Name)
	return []deltamanager.Token{token}
}

// A member's clock may be far ahead while it is out of reach: what its users bring is
// asked for, and moves no other clock by more than clockSlack.
func TestTokensMoveNoClockFar(t *testing.T) {
	c := freshCluster(t, 2)
	c.create(0, 1)
	c.run(time.Second)
	for _, x := range []struct {
		ahead time.Duration
		moves bool
	}{{time.Hour, false}, {table.ClockSlack + time.Second, false}, {table.ClockSlack, true}} {
		before := c.cores[1].Clock().Read()
		s := deltamanager.Stamp{Clock: before + uint64(x.ahead/time.Millisecond)<<16, Incarnation: c.ids[0].Incarnation}
		token := mint(c, 0, cookieHash(1), s)
		if n := c.asks(1, func() { c.cores[1].Close(c.cores[1].CatchUp(c.now, cookieHash(1), token, nil)) }); n != 1 {
			t.Errorf("%v ahead: %d questions", x.ahead, n)
		}
		if moved := c.cores[1].Clock().Read() != before; moved != x.moves {
			t.Errorf("%v ahead: moved: %v", x.ahead, moved)
		}
	}
}

// After a login the session is another one, which this node has made: whatever the tokens
// for the former one say, the user is given the one token that covers it.
func TestLoginGivesTokensAnew(t *testing.T) {
	c := freshCluster(t, 2)
	c.create(0, 1)
	c.write(0, cookieHash(1), "n", "1")
	c.run(200 * time.Millisecond)
	r, _, _ := c.cores[1].Open(c.now, cookieHash(1))
	seen := r.Tokens(c.now, nil)
	if again := r.Tokens(c.now, seen); len(seen) != 1 || len(again) != 0 {
		t.Fatalf("%v, then %v", seen, again)
	}
	r, _, err := c.cores[1].Move(c.now, r, deltamanager.Identity{Key: deltamanager.Key{9}, CookieHash: cookieHash(2)}, deltamanager.Tx{})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Tokens(c.now, seen); len(got) != 1 {
		t.Errorf("tokens after the login: %v", got)
	}
	forged := append([]deltamanager.Token(nil), seen...)
	forged[0].Stamp.Clock += 1 << 30
	if got := r.Tokens(c.now, forged); len(got) != 1 {
		t.Errorf("a forged token keeps the user from getting theirs: %v", got)
	}
}

// A key from the cluster's secret is told to nobody, and no other is learnt.
func TestKeysFromASecret(t *testing.T) {
	old, fresh := deltamanager.TokenKey{1}, deltamanager.TokenKey{2}
	var held []*deltamanager.TokenKeys
	with := func(keys ...deltamanager.TokenKey) *deltamanager.Core {
		cfg := testConfig(newCluster(t, 1).ids[0])
		secrets := token.NewSecrets(keys...)
		cfg.TokenKeys = secrets
		held = append(held, secrets)
		return deltamanager.NewCore(cfg, new(wakings))
	}
	a, b, both, changed := with(old), with(fresh), with(fresh, old), with(old)
	held[3].Change(fresh, old)
	held[3].Change(fresh)
	for _, c := range []*deltamanager.Core{a, b, both, changed} {
		c.Keys().Learn(0, token.AgreedKey{Drawn: 1, Key: deltamanager.TokenKey{7}}, deltamanager.TokenKey{8})
		if k, former := c.Keys().Announced(0); k != (token.AgreedKey{}) || former != (deltamanager.TokenKey{}) {
			t.Error("a key from a secret is told")
		}
	}
	by := func(c *deltamanager.Core) *deltamanager.Token {
		k, _ := c.Keys().Sign(deltamanager.CookieHash{1}, deltamanager.Stamp{Clock: 1, Incarnation: 1}, "n")
		return &k
	}
	for _, x := range []struct {
		what     string
		reader   *deltamanager.Core
		maker    *deltamanager.Core
		believes bool
	}{
		{"another secret", a, b, false},
		{"the new one, by a node that has both", both, b, true},
		{"the old one, by a node that has both", both, a, true},
		{"a node that has both makes them for those that have the new one", b, both, true},
		{"and for those that have the old one", a, both, true},
		{"after the change, the new one", changed, b, true},
		{"after the change, one of a node that has both", changed, both, true},
		{"after the change, the old one", changed, a, false},
	} {
		if x.reader.Keys().Proves(deltamanager.CookieHash{1}, by(x.maker)) != x.believes {
			t.Errorf("%s: believed: %v", x.what, !x.believes)
		}
	}
}

type client uint64

func (a client) Asker() uint64 { return uint64(a) }

// While something is known to be missing, ids that are not here are asked for. Somebody who makes
// up ids spends what is theirs, and nobody else's.
func TestMadeUpIDsSpendTheirOwnQuestions(t *testing.T) {
	c := freshCluster(t, 3)
	c.cores[0].Miss(c.ids[1])
	flood := c.asks(0, func() {
		for n := range 10000 {
			c.cores[0].Close(c.cores[0].CatchUp(c.now, deltamanager.CookieHash{1, byte(n), byte(n >> 8)}, nil, client(7)))
		}
	})
	if flood > 2*deltamanager.AskAtOnce {
		t.Errorf("one client had %d questions asked at once", flood)
	}
	for user := range 100 {
		c.cores[0].Miss(c.ids[1])
		if n := c.asks(0, func() {
			c.cores[0].Close(c.cores[0].CatchUp(c.now, deltamanager.CookieHash{2, byte(user)}, nil, client(8+user)))
		}); n != 2 {
			t.Fatalf("user %d: %d questions instead of 2", user, n)
		}
	}
	c.now += time.Second
	again := c.asks(0, func() {
		for n := range 1000 {
			c.cores[0].Close(c.cores[0].CatchUp(c.now, deltamanager.CookieHash{3, byte(n), byte(n >> 8)}, nil, client(7)))
		}
	})
	if again < 2 || again > 2*(deltamanager.AskEach+1) {
		t.Errorf("after a second the same client had %d questions", again)
	}
	all := c.asks(0, func() {
		for n := range 10000 {
			c.cores[0].Close(c.cores[0].CatchUp(c.now, deltamanager.CookieHash{4, byte(n), byte(n >> 8)}, nil, client(1000+n)))
		}
	})
	if all > 2*deltamanager.AskBurst {
		t.Errorf("ten thousand clients had %d questions asked at once", all)
	}
}

// sent is how many bytes the members have sent each other while f ran.
func (c *cluster) sent(f func()) int64 {
	total := func() (n int64) {
		for _, core := range c.cores {
			s := core.Stats()
			n += s.BytesOut + s.RepairBytesOut
		}
		return n
	}
	before := total()
	f()
	return total() - before
}

// Whatever a user sends, members say no more to each other about a session that they have than what
// is new in it.
func TestAnswersSayWhatIsNew(t *testing.T) {
	c := freshCluster(t, 3)
	c.create(0, 1)
	c.write(0, cookieHash(1), "big", strings.Repeat("x", 1<<20-1000))
	c.run(time.Second)
	forged := deltamanager.Token{
		Name:  "n1",
		Stamp: deltamanager.Stamp{Clock: c.cores[0].Clock().Read() + 1<<20, Incarnation: c.ids[0].Incarnation},
		MAC:   deltamanager.MAC{1},
	}
	if n := c.sent(func() { c.freshAtN2(cookieHash(1), []deltamanager.Token{forged}) }); n > 4096 {
		t.Errorf("a forged token: %d bytes", n)
	}
	c.write(0, cookieHash(1), "n", "1")
	tokens := c.tokens(0, cookieHash(1))
	if n := c.sent(func() {
		if c.freshAtN2(cookieHash(1), tokens) || c.read(1, cookieHash(1), "n") != "1" {
			t.Error("the write did not come")
		}
	}); n > 4096 {
		t.Errorf("a write of a byte: %d bytes", n)
	}
	dead := deltamanager.Stamp{Clock: c.cores[0].Clock().Read(), Incarnation: 12345} // of an incarnation that nobody knows any more
	c.run(time.Second)
	for range 100 {
		if n := c.sent(func() {
			if !c.freshAtN2(cookieHash(1), mint(c, 0, cookieHash(1), dead)) {
				t.Fatal("nobody says that the origin is out of reach")
			}
		}); n > 4096 {
			t.Fatalf("a token of an incarnation that is gone: %d bytes", n)
		}
	}
}

// A session that must be sent whole, and is large, comes on the bulk stream: the live one is not
// held up by it. And its user can't have it sent on and on.
func TestLargeAnswersComeOnTheBulkStream(t *testing.T) {
	c := freshCluster(t, 2)
	c.run(time.Second)
	c.create(0, 1)
	c.write(0, cookieHash(1), "big", strings.Repeat("x", 1<<20-1000))
	c.run(time.Second)
	tokens := mint(c, 0, cookieHash(1), deltamanager.Stamp{Clock: c.cores[0].Clock().Read(), Incarnation: c.ids[0].Incarnation})
	whole := 0
	for n := range 30 {
		s := c.cores[1].Table().ByCookie(cookieHash(1))
		b := c.cores[1].Table().Lock(s.Key)
		b.Remove(s) // as if it had never come
		b.Unlock()
		live := c.cores[0].Stats().BytesOut
		bytes := c.sent(func() { c.freshAtN2(cookieHash(1), tokens) })
		if n := c.cores[0].Stats().BytesOut - live; n > 4096 {
			t.Fatalf("%d bytes on the live stream", n)
		}
		if bytes > 1<<20-1000 {
			whole++
		}
		if n == 0 && c.read(1, cookieHash(1), "big") == "" {
			t.Fatal("the session did not come")
		}
		if c.cores[1].Table().ByCookie(cookieHash(1)) == nil {
			break
		}
	}
	if limit := deltamanager.SessionBurst>>20 + 2; whole == 0 || whole > limit {
		t.Errorf("the session was sent %d times at once, limit %d", whole, limit)
	}
	if c.cores[0].Stats().AsksRefused == 0 {
		t.Error("no answer was refused")
	}
}

// FuzzTokens: whatever a user's token says, it proves nothing unless a member made it.
func FuzzTokens(f *testing.F) {
	f.Add("n1", uint64(1), uint64(2), []byte("12345678"), []byte("0123456789abcdef"))
	f.Add("", uint64(0), uint64(0), []byte{}, []byte{})
	f.Add("n1.n2", uint64(1)<<63, uint64(101), []byte{1, 2, 3}, []byte{9})
	c := freshCluster(f, 2)
	c.create(0, 1)
	c.run(time.Second)
	f.Fuzz(func(t *testing.T, name string, clock, incarnation uint64, mac, cookie []byte) {
		tok := deltamanager.Token{Name: name, Stamp: deltamanager.Stamp{Clock: clock, Incarnation: incarnation}}
		copy(tok.MAC[:], mac)
		cookies := []deltamanager.CookieHash{cookieHash(1), {}}
		copy(cookies[1][:], cookie)
		before := c.cores[1].Clock().Read()
		for _, cookie := range cookies {
			if n := c.asks(1, func() { c.cores[1].Close(c.cores[1].CatchUp(c.now, cookie, []deltamanager.Token{tok}, nil)) }); n != 0 {
				t.Errorf("%+v asks for %v", tok, cookie)
			}
			good, ok := c.cores[0].Keys().Sign(cookie, tok.Stamp, name)
			if !ok || len(name) <= token.MaxTokenName != c.cores[1].Keys().Proves(cookie, &good) {
				t.Errorf("%+v made by a member is not believed", good)
			}
		}
		if c.cores[1].Clock().Read() != before {
			t.Errorf("%+v moves the clock", tok)
		}
	})
}

// Members without a secret agree on a key: a node that joins takes the cluster's, two clusters that meet
// believe each other's tokens from their first heartbeats on, and go on with the older key.
func TestMembersAgreeOnAKey(t *testing.T) {
	c := freshCluster(t, 2, func(cfg *deltamanager.Config) { cfg.Rand = rand.Reader })
	first := func(r *token.Ring) token.AgreedKey { k, _ := r.Announced(c.now); return k }
	key := first(c.cores[0].Keys())
	believes := func(i, by int) bool {
		token := mint(c, by, deltamanager.CookieHash{1}, deltamanager.Stamp{Clock: 1, Incarnation: 1})[0]
		return c.cores[i].Keys().Proves(deltamanager.CookieHash{1}, &token)
	}
	c.run(time.Minute)
	c.join(func(cfg *deltamanager.Config) { cfg.Rand, cfg.Wall = rand.Reader, cfg.Wall.Add(c.now) })
	own := mint(c, 2, deltamanager.CookieHash{1}, deltamanager.Stamp{Clock: 1, Incarnation: 1})[0]
	c.run(time.Second)
	for i := range c.cores {
		if got := first(c.cores[i].Keys()); got != key {
			t.Errorf("n%d has another key", i+1)
		}
	}
	if !c.cores[0].Keys().Proves(deltamanager.CookieHash{1}, &own) {
		t.Error("what the newcomer gave out before it met the others is not believed")
	}

	a := freshCluster(t, 2, func(cfg *deltamanager.Config) { cfg.Rand = rand.Reader })
	for _, core := range a.cores {
		token := mint(c, 0, deltamanager.CookieHash{1}, deltamanager.Stamp{Clock: 1, Incarnation: 1})[0]
		if core.Keys().Proves(deltamanager.CookieHash{1}, &token) {
			t.Fatal("two clusters have one key though they never met")
		}
	}
	k, former := a.cores[0].Keys().Announced(c.now)
	c.cores[0].Keys().Learn(c.now, k, former)
	if got := first(c.cores[0].Keys()); got != key && got != k || !believes(0, 1) {
		t.Error("a cluster that meets another one does not believe itself any more")
	}
}
