package loadgen

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		body string
		want reply
		bad  bool
	}{
		{"s 3 n1\n", reply{"s", 3, "n1", 0}, false},
		{"s 3 n1 100\n", reply{"s", 3, "n1", 100}, false},
		{"none -1 n1 -1\n", reply{"none", -1, "n1", -1}, false},
		{"s three n1\n", reply{}, true},
		{"s 3 n1 many\n", reply{}, true},
		{"404 page not found", reply{}, true},
		{"", reply{}, true},
	} {
		got, err := parse([]byte(c.body))
		if (err != nil) != c.bad || err == nil && got != c.want {
			t.Errorf("parse(%q) = %v, %v; want %v", c.body, got, err, c.want)
		}
	}
}

func TestIncremented(t *testing.T) {
	for _, c := range []struct {
		name  string
		sid   string
		count int
		got   reply
		want  verdict
	}{
		{"first", "", 0, reply{sid: "a", n: 1}, verdict{}},
		{"first, id to come", "", 0, reply{sid: noSID, n: 1}, verdict{}},
		{"next", "a", 4, reply{sid: "a", n: 5}, verdict{}},
		{"stale", "a", 4, reply{sid: "a", n: 3}, verdict{stale: true, by: 2}},
		{"same again", "a", 4, reply{sid: "a", n: 4}, verdict{stale: true, by: 1}},
		{"ahead", "a", 4, reply{sid: "a", n: 6}, verdict{ahead: true}},
		{"lost", "a", 4, reply{sid: "b", n: 1}, verdict{lost: true, by: 4}},
		{"lost, id to come", "a", 4, reply{sid: noSID, n: 1}, verdict{lost: true, by: 4}},
	} {
		s := &session{sid: c.sid, count: c.count}
		if got := s.incremented(c.got); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		name string
		got  reply
		want verdict
	}{
		{"as written", reply{sid: "a", n: 1, size: 100}, verdict{}},
		{"older size", reply{sid: "a", n: 1, size: -1}, verdict{stale: true}},
		{"older count", reply{sid: "a", n: 0, size: 100}, verdict{stale: true}},
		{"gone", reply{sid: "none", n: -1, size: -1}, verdict{lost: true}},
		{"another", reply{sid: "b", n: 1, size: 100}, verdict{lost: true}},
	} {
		s := &session{sid: "a", count: 1, size: 100}
		if got := s.read(c.got); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

func TestJar(t *testing.T) {
	var j jar
	for _, line := range []string{
		"id=1; Path=/; HttpOnly", "NSV-n1=7; Max-Age=10", "id=2", "odd", "old=x", "old=; Max-Age=0", "older=y", "older=y; max-age=-1",
	} {
		j.absorb(line)
	}
	if got, want := fmt.Sprint(j), "[{id 2} {NSV-n1 7}]"; got != want {
		t.Errorf("jar %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(j.bare()), "[{id 2}]"; got != want {
		t.Errorf("bare jar %s, want %s", got, want)
	}
}

func TestQuantile(t *testing.T) {
	d := make([]time.Duration, 0, 1000)
	for i := range 1000 {
		d = append(d, time.Duration(1000-i)*time.Millisecond)
	}
	if got, want := latencyOf(d), (Latency{501, 901, 991, 1000, 1000}); got != want {
		t.Errorf("latency %v, want %v", got, want)
	}
	if got := latencyOf(nil); got != (Latency{}) {
		t.Errorf("latency of nothing: %v", got)
	}
}

// servers are some nodes that share their sessions, with faults.
type servers struct {
	mu     sync.Mutex
	counts map[string][]int // by session: the copy of each node
	behind int              // requests to inc after which one is not copied
	incs   int
	chunks bool
}

func (s *servers) handler(node int) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/bench/inc", func(w http.ResponseWriter, r *http.Request) { s.inc(w, r, node) })
	mux.HandleFunc("/bench/get", func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c, err := r.Cookie("id")
		if err != nil || s.counts[c.Value] == nil {
			fmt.Fprintf(w, "none -1 n%d -1\n", node)
			return
		}
		fmt.Fprintf(w, "%s %d n%d -1\n", c.Value, s.counts[c.Value][node], node)
	})
	return mux
}

func (s *servers) inc(w http.ResponseWriter, r *http.Request, node int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := r.Cookie("id")
	if err != nil {
		c = &http.Cookie{Name: "id", Value: fmt.Sprintf("s%d", len(s.counts))}
		http.SetCookie(w, c)
		s.counts[c.Value] = make([]int, 2)
	}
	copies := s.counts[c.Value]
	copies[node]++
	if s.incs++; s.behind == 0 || s.incs%s.behind != 0 {
		copies[1-node] = copies[node]
	}
	fmt.Fprintf(w, "%s %d n%d\n", c.Value, copies[node], node)
	if s.chunks {
		w.(http.Flusher).Flush() // no Content-Length: the answer is chunked
	}
}

func startServers(t *testing.T, s *servers) Target {
	t.Helper()
	s.counts = map[string][]int{}
	var target Target
	for node := range 2 {
		server := httptest.NewServer(s.handler(node))
		t.Cleanup(server.Close)
		target.Nodes = append(target.Nodes, strings.TrimPrefix(server.URL, "http://"))
	}
	target.PIDs = []int{os.Getpid()}
	return target
}

func TestLoadFindsNothing(t *testing.T) {
	for _, chunks := range []bool{false, true} {
		target := startServers(t, &servers{chunks: chunks})
		r, err := Load(
			context.Background(),
			LoadConfig{Target: target, Op: "inc", Policy: "random", Workers: 4, Measure: 200 * time.Millisecond},
		)
		if err != nil || r.Errors > 0 {
			t.Fatalf("load: %v, %d errors, the first: %s", err, r.Errors, r.FirstError)
		}
		if r.Requests == 0 || r.CPU <= 0 || r.P50 <= 0 {
			t.Errorf("nothing measured: %+v", r)
		}
		if r.Stale+r.Ahead+r.Lost+r.Diverged+r.LostIncrements > 0 || r.Sessions != 4 {
			t.Errorf("faults where there are none: %+v", r)
		}
	}
}

func TestLoadFindsStale(t *testing.T) {
	target := startServers(t, &servers{behind: 7})
	r, err := Load(
		context.Background(),
		LoadConfig{Target: target, Op: "inc", Policy: "random", Workers: 4, Measure: 200 * time.Millisecond},
	)
	if err != nil || r.Stale == 0 || r.LostIncrements == 0 {
		t.Errorf("every seventh write is not copied, and it shows nowhere: %v, %+v", err, r)
	}
}

func TestLoadFindsDiverged(t *testing.T) {
	target := startServers(t, &servers{behind: 1})
	r, err := Load(
		context.Background(),
		LoadConfig{Target: target, Op: "inc", Policy: "sticky", Workers: 4, Measure: 100 * time.Millisecond},
	)
	if err != nil || r.Diverged != 4 || r.Missing != 4 || r.Stale+r.LostIncrements > 0 {
		t.Errorf("nothing is copied, sticky: %v, %+v", err, r)
	}
}

func TestRate(t *testing.T) {
	target := startServers(t, &servers{})
	r, err := Load(
		context.Background(),
		LoadConfig{Target: target, Op: "inc", Policy: "sticky", Workers: 4, Rate: 200, Measure: 500 * time.Millisecond},
	)
	if err != nil || r.Requests < 50 || r.Requests > 110 {
		t.Errorf("%d requests in half a second at 200 per second, %v", r.Requests, err)
	}
}

// A server that stands still once keeps all waiting whose turn comes meanwhile, not
// only the one whose request it has.
func TestStallCountsForWhoWaits(t *testing.T) {
	var stall sync.Once
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		stall.Do(func() { time.Sleep(400 * time.Millisecond) })
		fmt.Fprintln(w, "- 0 n1")
	}))
	defer s.Close()
	target := Target{Nodes: []string{strings.TrimPrefix(s.URL, "http://")}}
	r, err := Load(t.Context(), LoadConfig{Target: target, Op: "raw", Workers: 1, Rate: 100, Measure: time.Second})
	if err != nil || r.P50 > 200 || r.P90 < 200 {
		t.Errorf("p50 %v ms, p90 %v ms of %d requests, %v", r.P50, r.P90, r.Requests, err)
	}
}

func TestLag(t *testing.T) {
	target := startServers(t, &servers{behind: 5})
	r, err := Lag(context.Background(), LagConfig{Target: target, Writes: 10, Limit: 20 * time.Millisecond})
	if err != nil || r.Writes != 10 || r.Never != 2 {
		t.Errorf("2 of 10 writes never show: %v, %+v", err, r)
	}
}

func TestFailover(t *testing.T) {
	s := &servers{}
	target := startServers(t, s)
	dead := httptest.NewServer(s.handler(0))
	target.Nodes[0] = strings.TrimPrefix(dead.URL, "http://")
	r, err := Failover(context.Background(), FailoverConfig{
		Target: target, Workers: 4, Sessions: 2, Rate: 400, Half: 200 * time.Millisecond, Victim: "n0",
		Kill: func() error { dead.CloseClientConnections(); _ = dead.Listener.Close(); return nil },
	})
	if err != nil || r.Errors == 0 || r.AllGood == 0 || r.Lost+r.LostIncrements+r.Stuck > 0 || r.After == 0 {
		t.Errorf("failover: %v, %+v", err, r)
	}
}

func TestCPU(t *testing.T) {
	before := cpuOf(os.Getpid())
	for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
		_ = fmt.Sprint(start)
	}
	if used := cpuOf(os.Getpid()) - before; used < 10*time.Millisecond || used > 5*time.Second {
		t.Errorf("50 ms of work cost %v", used)
	}
	if cpuOf(1<<22-1) != 0 {
		t.Error("a process that isn't there used CPU")
	}
}
