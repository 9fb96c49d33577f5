package server

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/keys"
	"github.com/nodeserver/nodeserver/webapps"
)

// big is an app whose sessions may be filled with as much as they take.
func big() webapps.App {
	return steps{
		"fill": func(_ http.ResponseWriter, r *http.Request) {
			_ = webapps.SessionOf(r).Set("fill", make([]byte, 1<<20-4096))
		},
		"kind": func(w http.ResponseWriter, r *http.Request) {
			_, ok := webapps.ExistingSession(r)
			fmt.Fprint(w, ok)
		},
	}.app()
}

func freshness(c *Config) {
	c.Sessions.Freshness, c.Sessions.FreshnessWait = "on", 50*time.Millisecond
}

// cookie is one of the user's, by the beginning of its name.
func (u *user) cookie(prefix string) *http.Cookie {
	u.t.Helper()
	for _, c := range u.web.Jar.Cookies(&url.URL{Scheme: "http", Host: "site", Path: "/test/"}) {
		if strings.HasPrefix(c.Name, prefix) {
			return c
		}
	}
	u.t.Fatalf("no cookie %s", prefix)
	return nil
}

// bring makes the user bring a cookie, for as long as nobody sets another one.
func (u *user) bring(c *http.Cookie) {
	u.web.Jar.SetCookies(
		&url.URL{Scheme: "http", Host: "site", Path: "/test/"},
		[]*http.Cookie{{Name: c.Name, Value: c.Value, Path: "/test/"}},
	)
}

// bend changes the stamp in a token, and leaves all else as it is.
func bend(t *testing.T, c *http.Cookie, clock func(uint64) uint64, boot uint64) *http.Cookie {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil {
		t.Fatal(err)
	}
	binary.BigEndian.PutUint64(b, clock(binary.BigEndian.Uint64(b)))
	if boot != 0 {
		binary.BigEndian.PutUint64(b[8:], boot)
	}
	return &http.Cookie{Name: c.Name, Value: base64.RawURLEncoding.EncodeToString(b)}
}

// A user with a session of 1 MB brings tokens that nobody gave them: what members send each other
// because of one such request stays within 4 KB, heartbeats included.
func TestForgedTokensMoveNoSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, big(), freshness)
		u := b.user()
		u.want(nodes[0].node, "/test/fill", "")
		b.whole(time.Second, nodes...)
		token := u.cookie("NSV-")
		later := func(c uint64) uint64 { return c + 1<<16 }
		for what, forged := range map[string]*http.Cookie{
			"of an incarnation that nobody knows": bend(t, token, later, 12345),
			"of the node that wrote":              bend(t, token, later, 0),
		} {
			u.bring(forged)
			before := b.net.Carried()
			const requests = 50
			for range requests {
				u.want(nodes[1].node, "/test/kind", "true")
			}
			pass(10 * time.Millisecond)
			if per := (b.net.Carried() - before) / requests; per > 4096 {
				t.Errorf("a token %s: %d bytes a request", what, per)
			}
		}
	})
}

// The same with a token that a member did give out, and that is used again and again: by a node
// that can't be asked any more, and for a write that is still on its way.
func TestReplayedTokensMoveNoSessions(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, big(), freshness)
		u := b.user()
		u.want(nodes[0].node, "/test/fill", "")
		b.whole(time.Second, nodes...)
		const requests = 50
		before := b.net.Carried()
		for n := range requests {
			u.want(nodes[0].node, "/test/inc", strconv.Itoa(n+1))
			u.want(nodes[1].node, "/test/get", strconv.Itoa(n+1)+" <nil>") // before the write gets there by itself
		}
		if per := (b.net.Carried() - before) / requests; per > 4096 {
			t.Errorf("a write and a read elsewhere: %d bytes", per)
		}
		token := u.cookie("NSV-n1")
		b.crash(nodes[0])
		b.within(5*time.Second, "the crash is noticed", func() bool { return len(strings.Fields(nodes[1].server.names())) == 2 })
		u.bring(token)
		before = b.net.Carried()
		for range requests {
			u.want(nodes[1].node, "/test/kind", "true")
		}
		if per := (b.net.Carried() - before) / requests; per > 4096 {
			t.Errorf("a token of a node that is gone: %d bytes a request", per)
		}
	})
}

// A stranger without a session brings a token from the future: no clock of any node moves by more
// than 2 s.
func TestStrangersMoveNoClock(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, testApp(), freshness)
		u := b.user()
		u.want(nodes[0].node, "/test/inc", "1")
		token := u.cookie("NSV-")
		for _, ahead := range []time.Duration{3 * time.Second, time.Minute, time.Hour - time.Minute} {
			stranger := b.user()
			stranger.bring(&http.Cookie{Name: "NSESSIONID", Value: strings.Repeat("A", 27) + ".n1"})
			stranger.bring(bend(t, token, func(c uint64) uint64 { return c + uint64(ahead/time.Millisecond)<<16 }, 0))
			stranger.want(nodes[1].node, "/test/get", "none")
		}
		pass(time.Second)
		for i, n := range nodes {
			v := b.user()
			v.want(n.node, "/test/inc", "1")
			c, _ := base64.RawURLEncoding.DecodeString(v.cookie("NSV-").Value)
			if off := time.Until(time.UnixMilli(int64(binary.BigEndian.Uint64(c) >> 16))); off > 2*time.Second {
				t.Errorf("n%d stamps %v in the future", i+1, off)
			}
		}
	})
}

// Somebody comes with thousands of ids that nobody gave out, each with a token. Meanwhile users
// move to another node at once after they began: none loses their session.
func TestMadeUpIDsCostOthersNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, testApp(), freshness)
		users := b.users(20)
		for _, u := range users {
			u.want(nodes[0].node, "/test/inc", "1")
		}
		token := bend(t, users[0].cookie("NSV-"), func(c uint64) uint64 { return c + 1<<32 }, 0)
		asks := nodes[1].server.manager().Stats().Asks
		b.net.Delay("n1", "n2", 300*time.Millisecond) // longer than a new session waits for another node
		pass(2 * time.Second)
		flood := make(chan bool)
		go func() {
			defer close(flood)
			each(3000, 3000, func(i int) {
				r, _ := http.NewRequest(http.MethodGet, nodes[1].url+"/test/get", http.NoBody)
				r.Header.Set("Cookie", fmt.Sprintf("NSESSIONID=%027d.n1; %s=%s", i, token.Name, token.Value))
				if w, err := b.RoundTrip(r); err == nil {
					w.Body.Close()
				}
			})
		}()
		pass(time.Millisecond)
		lost := make([]string, 20)
		each(len(lost), len(lost), func(i int) {
			u := b.user()
			u.want(nodes[0].node, "/test/inc", "1")
			_, lost[i], _ = u.get(nodes[1].node, "/test/get")
		})
		if n := len(slices.DeleteFunc(lost, func(s string) bool { return s == "1 <nil>" })); n > 0 {
			t.Errorf("%d of 20 users lost their session", n)
		}
		<-flood
		if n := nodes[1].server.manager().Stats().Asks - asks; n > 40 {
			t.Errorf("%d questions were asked", n)
		}
	})
}

// Nodes with a secret have their key from it: a node that never met another one believes its
// tokens.
func TestTokenKeysFromTheSecret(t *testing.T) {
	file := secretFile(t)
	conf := func(name, file string) Config {
		cfg := testConf(name)
		cfg.Cluster.SecretFile = file
		return cfg
	}
	keyOf := func(file string) deltamanager.TokenKey {
		list, err := keys.ReadSecrets(file)
		if err != nil || len(list) != 1 {
			t.Fatal(len(list), err)
		}
		return keysOf(list)[0]
	}
	if keyOf(file) == keyOf(secretFile(t)) {
		t.Error("two secrets give one key")
	}
	if unstarted(t, conf("n1", file), testApp()).tokenKeys == nil {
		t.Error("a secret gives no key")
	}
	pki := conf("n1", file)
	pki.Channel.TLSCA = "ca.pem"
	if k, err := newTokenKeys(pki); k != nil || err != nil {
		t.Errorf("with a PKI: %v, %v", k, err)
	}
	if _, err := New(conf("n1", file+"x"), nil, discard()); err == nil || !strings.Contains(err.Error(), "cluster.secret_file") {
		t.Errorf("no such file: %v", err)
	}
}

func secretFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(keys.New()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
