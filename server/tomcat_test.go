package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

// The tests TestW… each take a way in which Tomcat's cluster fails its users
// (numbers of docs/SESSIONS.md), the tests TestUX… one in which session libraries
// do, and show that it does not happen here.

// nodesOf runs n nodes, n1, n2, ….
func nodesOf(t *testing.T, n int, app webapps.App, change func(*Config)) []*node {
	t.Helper()
	var nodes []*node
	for i := range n {
		nodes = append(nodes, join(t, i+1, nodes, app, change))
	}
	meet(t, nodes)
	return nodes
}

// join starts one more node.
func join(t *testing.T, number int, others []*node, app webapps.App, change func(*Config)) *node {
	t.Helper()
	var seeds []string
	for _, o := range others {
		seeds = append(seeds, o.channel())
	}
	cfg := testConf("n"+strconv.Itoa(number), seeds...)
	if change != nil {
		change(&cfg)
	}
	return startNode(t, cfg, app)
}

// meet waits until all know each other and are ready.
func meet(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		n.waitReady()
		eventually(t, "all members", func() bool { return len(strings.Fields(n.server.names())) == len(nodes) })
	}
}

func acksAll(c *Config) { c.Replication.Acks, c.Replication.AckTimeout = "all", 5*time.Second }

// holds waits until the node's session answers so to get.
func (u *user) holds(n *node, body string) {
	u.t.Helper()
	const path = "/test/get"
	got := ""
	eventually(u.t, fmt.Sprintf("%s%s answers %q", n.server.cfg.Node.Name, path, body), func() bool {
		_, got, _ = u.get(n, path)
		return got == body
	})
}

// W6: in Tomcat an acknowledgement says "received", even of what the receiver
// then could not read, and the sender drops the change. Here it says "applied":
// when an answer is out, each node has what it tells of, and a node that could
// not apply it yet is told of in a header, and gets the change later.
func TestW06AcknowledgedMeansApplied(t *testing.T) {
	t.Parallel()
	n1, n2, toN2 := pair(t, testApp(), func(c *Config) { acksAll(c); c.Replication.AckTimeout = 300 * time.Millisecond })
	u := newUser(t)
	for i := range 100 {
		at, other := n1, n2
		if i%2 == 1 {
			at, other = n2, n1
		}
		if h := u.want(at, "/test/inc", strconv.Itoa(i+1)); h.Get("Nodeserver-Replicated") != "" {
			t.Fatalf("round %d: %v", i, h)
		}
		u.want(other, "/test/get", strconv.Itoa(i+1)+" <nil>") // at once
	}
	toN2.shut()
	if h := u.want(n1, "/test/inc", "101"); h.Get("Nodeserver-Replicated") != "0/1" {
		t.Errorf("nobody has applied it, and the answer says %q", h.Get("Nodeserver-Replicated"))
	}
	toN2.open()
	u.holds(n2, "101 <nil>")
}

// W7: in Tomcat one attribute that can't be serialised, or that another node's
// version of the app can't read, loses all changes of its request.
func TestW07OneBadAttributeHarmsNoOther(t *testing.T) {
	t.Parallel()
	type v1 struct{ Price int }
	type v2 struct{ Price string }
	app := steps{
		"buy": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("a", "kept"))
			bad := s.Set("bad", struct{ In any }{make(chan int)})
			report(t, s.Set("item", v1{5}))
			report(t, s.Set("z", "kept too"))
			fmt.Fprint(w, bad)
		},
		"look": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			a, _, errA := webapps.Get[string](s, "a")
			z, _, errZ := webapps.Get[string](s, "z")
			_, found, err := webapps.Get[v2](s, "item") // this node's app is newer
			fmt.Fprint(w, s.Names(), a, errA, z, errZ, found, err)
		},
	}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(
		nodes[0],
		"/test/buy",
		`app test: set attribute "bad": a struct { In interface {} } can't be stored: cbor: unsupported type: chan int`,
	)
	u.want(
		nodes[1],
		"/test/look",
		`[a item z]kept<nil>kept too<nil> true app test: read attribute "item": the stored value doesn't fit a server.v2: `+
			`cbor: cannot unmarshal positive integer into Go struct field server.v2.Price of type string`,
	)
	u.want(nodes[1], "/test/inc", "1") // and the session lives on
}

// W13: in Tomcat every request that carries a session is replicated to all
// nodes, even one for a picture.
func TestW13ReadsReplicateNothing(t *testing.T) {
	t.Parallel()
	nodes := nodesOf(t, 2, testApp(), acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	out := func() (n int64) {
		for _, n1 := range nodes {
			n += n1.server.manager().Stats().DeltasOut
		}
		return n
	}
	before := out()
	for range 100 {
		u.want(nodes[0], "/test/raw", "n1")
		u.want(nodes[0], "/test/get", "1 <nil>")
	}
	// That the cookie came back is told, and the use once more in the pass that follows a join.
	if got := out() - before; got > 2 {
		t.Errorf("200 requests that write nothing made %d deltas", got)
	}
	u.want(nodes[0], "/test/inc", "2")
	u.want(nodes[1], "/test/get", "2 <nil>")
	if got := out() - before; got < 1 || got > 5 { // and that the session is in use on n2, too
		t.Errorf("with one that writes, %d", got)
	}
}

// W16: in Tomcat the stop of a node tells listeners that its sessions are
// destroyed, and each session is created once on every node and again on each
// that joins. Here each event happens once, where it was decided.
func TestW16ListenersHearNoLies(t *testing.T) {
	t.Parallel()
	var r record
	app := listening(&r, false)
	nodes := nodesOf(t, 3, app, acksAll)
	users := make([]*user, 10)
	var want []string
	for i := range users {
		users[i] = newUser(t)
		at := nodes[i%3]
		users[i].want(at, "/test/inc", "1")
		name := at.server.cfg.Node.Name
		want = append(want, name+" created remote=false", name+" n changed remote=false")
	}
	nodes[0].stop()
	n4 := join(t, 4, nodes[1:], app, acksAll)
	n4.waitReady()
	for _, u := range users {
		u.want(n4, "/test/get", "1 <nil>")
	}
	n4.stop()
	slices.Sort(want)
	if got := r.sorted(); !slices.Equal(got, want) {
		t.Errorf("a stop, a join and another stop told\n%q\nwant\n%q", got, want)
	}
	users[0].want(nodes[1], "/test/logout", "")
	if got := r.sorted(); !slices.Contains(got, "n2 invalidated with n=1 remote=false <nil>") || len(got) != len(want)+1 {
		t.Errorf("a logout told %q", got)
	}
}

// W17: in Tomcat a long answer goes out before its changes are replicated, and
// what is changed asynchronously never is. Here the first byte follows the
// commit, and what is written after it is committed, too.
func TestW17AnswersFollowReplication(t *testing.T) {
	t.Parallel()
	middle := make(chan bool)
	app := steps{
		"long": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("n", 10))
			_, _ = w.Write(make([]byte, 200_000))
			<-middle
		},
		"async": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			c, buf, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			var all sync.WaitGroup
			all.Go(func() {
				defer c.Close()
				report(t, s.Set("n", 20))
				report(t, s.Commit(r.Context()))
				_, _ = buf.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
				_ = buf.Flush()
				<-middle
			})
			all.Wait()
		},
	}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	for path, n := range map[string]string{"/test/long": "10 <nil>", "/test/async": "20 <nil>"} {
		r, err := u.web.Get(nodes[0].url + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Body.Read(make([]byte, 1)); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		u.want(nodes[1], "/test/get", n) // the handler still runs
		middle <- true
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
}

// W22: in Tomcat an object that is changed without setAttribute is changed on
// one node only, until that dies. Here Get gives a copy: a change of it is
// nowhere, until it is Set, and then everywhere.
func TestW22ChangedButNotSet(t *testing.T) {
	t.Parallel()
	type cart struct {
		Items []string
		Sum   map[string]int
	}
	app := steps{"buy": func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		c := &cart{Items: []string{"tea"}, Sum: map[string]int{"tea": 1}}
		if found, err := s.Get("cart", c); !found || err != nil {
			report(t, err)
			report(t, s.Set("cart", c))
		}
		c.Items[0] = "changed"
		c.Sum["tea"]++
		if r.FormValue("set") != "" {
			report(t, s.Set("cart", c))
			c.Items[0] = "changed later"
		}
		again, _, err := webapps.Get[cart](s, "cart")
		fmt.Fprint(w, again, err)
	}}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	for _, n := range []*node{nodes[0], nodes[0], nodes[1], nodes[0]} {
		u.want(n, "/test/buy", "{[tea] map[tea:1]} <nil>")
	}
	u.want(nodes[1], "/test/buy?set=1", "{[changed] map[tea:2]} <nil>")
	nodes[1].stop()
	u.want(nodes[0], "/test/buy", "{[changed] map[tea:2]} <nil>")
}

// W23: in Tomcat's log of changes an attribute and a note of one name are one,
// of two listeners one is lost, and a principal that is no GenericPrincipal, or
// the authentication after a state transfer, is dropped: users are logged out.
func TestW23NothingIsMistakenForAnother(t *testing.T) {
	t.Parallel()
	var one, two record
	app := steps{
		"do": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			for _, name := range []string{"user", "User", "user ", "principal", "n", "auth", "n\x00", "inactive", "dead"} {
				report(t, s.Set(name, "attribute "+name))
			}
			_ = s.SetPrincipal("user")
			s.SetMaxInactive(time.Hour)
		},
		"all": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			for _, name := range s.Names() {
				if v, _, err := webapps.Get[string](s, name); v != "attribute "+name || err != nil {
					t.Errorf("%q is %q %v", name, v, err)
				}
			}
			fmt.Fprint(w, len(s.Names()), s.Principal(), s.MaxInactive())
		},
	}.app()
	inner := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		for _, r := range []*record{&one, &two} {
			c.(webapps.Events).Listen(webapps.Listener{Created: func(webapps.Event) { r.add("created") }})
		}
		return inner(c)
	}
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/do", "")
	u.want(nodes[1], "/test/all", "9user1h0m0s")
	n3 := join(t, 3, nodes, app, acksAll) // by state transfer
	n3.waitReady()
	nodes[0].stop()
	nodes[1].stop()
	u.want(n3, "/test/all", "9user1h0m0s")
	if a, b := one.sorted(), two.sorted(); len(a) != 1 || len(b) != 1 {
		t.Errorf("two listeners heard %q and %q", a, b)
	}
}

// UX 4: a changed object that nobody Set is on no node; Update is the way to
// change one, and what it changes is on all.
func TestUX04UpdateReplicates(t *testing.T) {
	t.Parallel()
	app := steps{"add": func(w http.ResponseWriter, r *http.Request) {
		var list []string
		err := webapps.SessionOf(r).Update("list", &list, func() error {
			list = append(list, r.FormValue("item"))
			return nil
		})
		list[0] = "changed after"
		again, _, _ := webapps.Get[[]string](webapps.SessionOf(r), "list")
		fmt.Fprint(w, again, err)
	}}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/add?item=a", "[a] <nil>")
	u.want(nodes[1], "/test/add?item=b", "[a b] <nil>")
	u.want(nodes[0], "/test/add?item=c", "[a b c] <nil>")
}

// gates hold requests that have found their session, until the test lets them go.
type gates struct{ reached, open chan bool }

func (g gates) slow(w http.ResponseWriter, r *http.Request) {
	s := webapps.SessionOf(r)
	g.reached <- true
	<-g.open
	_ = s.Set("n", 1000) // fails if the session has ended
	fmt.Fprint(w, "slow")
}

// UX 5: a slower request brings nothing back that a faster one has ended, and
// its answer does not take away what the user got meanwhile: not the cookie of
// a new session, nor that of the login.
func TestUX05SlowerRequestUndoesNothing(t *testing.T) {
	t.Parallel()
	g := gates{make(chan bool), make(chan bool)}
	nodes := nodesOf(t, 3, steps{"slow": g.slow}.app(), acksAll)
	slowly := func(u *user, at *node, meanwhile func()) http.Header {
		var h http.Header
		done := make(chan bool)
		go func() {
			defer close(done)
			_, _, h = u.get(at, "/test/slow")
		}()
		<-g.reached
		meanwhile()
		g.open <- true
		<-done
		return h
	}
	for i := range 9 {
		at, other := nodes[i%3], nodes[(i/3)%3] // the same one, too
		u, old := newUser(t), newUser(t)
		u.want(at, "/test/inc", "1")
		old.web.Jar = cloneJar(t, u, nodes)
		h := slowly(u, at, func() {
			u.want(other, "/test/logout", "")
			u.want(other, "/test/inc", "1") // begins anew
		})
		if h["Set-Cookie"] != nil {
			t.Errorf("the slower answer sets %q", h["Set-Cookie"])
		}
		for _, n := range nodes {
			u.want(n, "/test/get", "1 <nil>")
			old.want(n, "/test/get", "none")
		}
	}
	// The slower request would move the cookie to its node, as the one it names
	// is gone; but a login has changed the id.
	u := newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	nodes[0].stop()
	nodes = nodes[1:]
	for _, n := range nodes {
		eventually(t, "n1 is gone", func() bool { return !n.server.serves("test", "n1") })
	}
	h := slowly(u, nodes[0], func() { u.want(nodes[1], "/test/login", "") })
	if h["Set-Cookie"] != nil {
		t.Errorf("the slower answer sets %q", h["Set-Cookie"])
	}
	for _, n := range nodes {
		u.want(n, "/test/get", "1 <nil>") // it came with the cookie of before: nobody can tell that it was not a thief's
	}
}

// UX 6: any number of requests and goroutines may use a session at once, and
// what they write to different attributes is all there.
func TestUX06ParallelRequestsKeepAll(t *testing.T) {
	t.Parallel()
	app := steps{
		"set": func(_ http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set(r.FormValue("name"), r.FormValue("name")))
			for _, name := range s.Names() {
				if _, _, err := webapps.Get[string](s, name); name != "n" && err != nil {
					t.Error(err)
				}
			}
		},
		"count": func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(webapps.SessionOf(r).Names())) },
	}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/inc", "1")
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() { u.get(nodes[i%2], "/test/set?name=a"+strconv.Itoa(i)) })
	}
	all.Wait()
	for _, n := range nodes {
		u.want(n, "/test/count", "61")
	}
}

// UX 7: types need no registration, in no process; what can't be stored is an
// error of Set, where the author is.
func TestUX07TypesNeedNoRegistration(t *testing.T) {
	t.Parallel()
	type line struct {
		SKU string
		N   int
	}
	type basket struct {
		Lines map[string][]*line
		At    time.Time
		Note  any
	}
	at := time.Date(2026, 11, 22, 1, 2, 3, 456789, time.UTC)
	app := steps{
		"set": func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			report(t, s.Set("b", basket{map[string][]*line{"x": {{"tea", 2}}}, at, "note"}))
			fmt.Fprint(w, s.Set("f", func() {}), s.Set("e", fmt.Errorf("e")) != nil)
		},
		"look": func(w http.ResponseWriter, r *http.Request) {
			b, _, err := webapps.Get[basket](webapps.SessionOf(r), "b")
			if err != nil {
				t.Error(err)
				return
			}
			fmt.Fprint(w, *b.Lines["x"][0], b.At.Equal(at), b.Note)
		},
	}.app()
	nodes := nodesOf(t, 2, app, acksAll)
	u := newUser(t)
	u.want(nodes[0], "/test/set", `app test: set attribute "f": a func() can't be stored: cbor: unsupported type: func() true`)
	u.want(nodes[1], "/test/look", "{tea 2} truenote")
}

// UX 8: the writer a handler gets can do what net/http's can, and what is
// flushed is with the user while the handler runs; the session is saved around it.
func TestUX08WriterDoesEverything(t *testing.T) {
	t.Parallel()
	next := make(chan bool)
	n := steps{"stream": func(w http.ResponseWriter, r *http.Request) {
		_, flusher := w.(http.Flusher)
		_, hijacker := w.(http.Hijacker)
		_, readerFrom := w.(io.ReaderFrom)
		_, stringWriter := w.(io.StringWriter)
		if !flusher || !hijacker || !readerFrom || !stringWriter {
			t.Error("Flusher, Hijacker, ReaderFrom, StringWriter:", flusher, hijacker, readerFrom, stringWriter)
		}
		c := http.NewResponseController(w)
		report(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		report(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
		report(t, c.EnableFullDuplex())
		s := webapps.SessionOf(r)
		for i := range 3 {
			report(t, s.Set("n", i+1))
			fmt.Fprintf(w, "data: %d\n", i)
			report(t, c.Flush())
			next <- true
		}
	}}.alone(t)
	u := newUser(t)
	r, err := u.web.Get(n.url + "/test/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	for i := range 3 {
		b := make([]byte, len("data: 0\n"))
		if _, err := io.ReadFull(r.Body, b); err != nil || string(b) != fmt.Sprintf("data: %d\n", i) {
			t.Errorf("%q %v", b, err)
		}
		<-next
	}
	u.holds(n, "3 <nil>")
}
