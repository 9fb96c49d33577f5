package deploy

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/plugins"
	"github.com/nodeserver/nodeserver/server/session"
	"github.com/nodeserver/nodeserver/webapps"
)

// alone is a node without others.
type alone struct{}

func (alone) Serves(_, _ string) bool { return false }

// table holds the apps of a node that has no others and does not run. Requests find it ready,
// in a bubble, where no time passes.
func table(tb testing.TB, log io.Writer, apps ...webapps.App) *Table {
	tb.Helper()
	start := time.Now()
	t := New(Config{Named: []string{"shop", "ghost"}, Members: alone{}, Settings: func(app string) Settings {
		return Settings{Session: session.Config{
			App: app, Path: "/" + app + "/", Node: "n1", Cookie: "NSESSIONID",
			Sessions: deltamanager.Config{
				Self: membership.ID{Name: "n1", Incarnation: 1}, Limits: deltamanager.Limits{MaxInactive: time.Minute, MaxBytes: 1 << 20},
				ChangeLogEntries: 100, Heartbeat: time.Second, RepairInterval: time.Minute, JoinTimeout: time.Second, Rand: rand.Reader,
			},
		}}
	}}, slog.New(slog.NewTextHandler(log, nil)))
	tb.Cleanup(t.Stop)
	if err := t.Deploy(apps); err != nil {
		tb.Fatal(err)
	}
	t.Settle()
	for p := range t.Each() {
		p.Manager().Core.Tick(time.Since(start))
	}
	return t
}

func get(h http.Handler, path string) (int, string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.String()
}

func says(name, text string) webapps.App {
	return webapps.App{Name: name, Version: "1", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }), nil
	}}
}

// The table is asked for all there is to know of the list of apps.
func TestTable(t *testing.T) { synctest.Test(t, testTable) }

func testTable(t *testing.T) {
	var log strings.Builder
	bad := webapps.App{
		Name: "bad",
		New:  func(webapps.Context) (http.Handler, error) { return nil, nil },
	} //nolint:nilnil // that is what is bad
	tab := table(t, &log, says("shop", "the shop"), bad, says("about", "about us"))
	if got := strings.Join(tab.Names(), " "); got != "about shop" {
		t.Errorf("names %q", got)
	}
	if p := tab.Find("shop"); p == nil || p.Name() != "shop" || p.Path() != "/shop/" || tab.Find("bad") != nil {
		t.Errorf("shop is %+v, bad %+v", p, tab.Find("bad"))
	}
	if got := fmt.Sprint(tab.States()); got != "map[about:true bad:false shop:true]" {
		t.Errorf("states %s", got)
	}
	if d := tab.Down(); len(d) != 1 || d[0].Name != "bad" || d[0].Path != "/bad/" || d[0].Origin != "compiled in" || d[0].Err == nil {
		t.Errorf("down: %+v", d)
	}
	if !tab.Ready() {
		t.Error("not ready")
	}
	for path, want := range map[string]string{
		"/shop/": "200 the shop", "/about/x": "200 about us", "/ghost/": "404 404 page not found\n",
		"/bad/": "503 the app bad is not served by this node: it could not be started\n",
	} {
		if status, body := get(tab, path); fmt.Sprint(status, " ", body) != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	if !strings.Contains(log.String(), "settings for an app that is not deployed\" app=ghost") ||
		strings.Contains(log.String(), "deployed\" app=shop") {
		t.Errorf("the log: %s", &log)
	}
}

// An app that an operator has stopped is no app of this node to others, serves nobody, and is back
// with its start. One that comes while it is stopped is stopped, too.
func TestHalt(t *testing.T) { synctest.Test(t, testHalt) }

func testHalt(t *testing.T) {
	tab := table(t, io.Discard, says("shop", "the shop"), says("about", "about us"))
	tab.halt("shop", true)
	tab.halt("later", true)
	if err := tab.Add(plugins.Plugin{File: "later.so", App: says("later", "")}); err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"shop", "later"} {
		status, body := get(tab, "/"+app+"/")
		if status != http.StatusServiceUnavailable || !strings.Contains(body, "stopped by an operator") {
			t.Errorf("%s is stopped: %d %s", app, status, body)
		}
	}
	if got := strings.Join(tab.Names(), " "); got != "about" || tab.Find("shop").State() != Stopped || !tab.Ready() {
		t.Errorf("names %q, state %s, ready %v", got, tab.Find("shop").State(), tab.Ready())
	}
	tab.halt("shop", false)
	status, body := get(tab, "/shop/")
	if got := strings.Join(tab.Names(), " "); got != "about shop" || status != http.StatusOK || body != "the shop" {
		t.Errorf("started: names %q, %d %s", got, status, body)
	}
	tab.Undeploy(tab.Find("about"), "test")
	tab.halt("about", true)
	if got := tab.Find("about").State(); got != Leaving {
		t.Errorf("stopped while it leaves: %s", got)
	}
}

// A stop closes Done of every revision.
func TestStopClosesDone(t *testing.T) { synctest.Test(t, testStopClosesDone) }

func testStopClosesDone(t *testing.T) {
	var done <-chan struct{}
	app := says("shop", "")
	create := app.New
	app.New = func(c webapps.Context) (http.Handler, error) { done = c.Done(); return create(c) }
	tab := table(t, io.Discard, app)
	select {
	case <-done:
		t.Fatal("closed before the stop")
	default:
	}
	tab.Stop()
	<-done
	if status, _ := get(tab, "/shop/"); status != http.StatusOK {
		t.Errorf("a request that comes with the stop: %d", status)
	}
}

// Requests run while one revision after the other takes the app's place: each request is
// served by one that has not been told to be idle, and those that have begun end where they
// began.
func TestSwapUnderRequests(t *testing.T) { synctest.Test(t, testSwapUnderRequests) }

func testSwapUnderRequests(t *testing.T) {
	tab := table(t, io.Discard, says("shop", "0"))
	p := tab.Find("shop")
	var ended atomic.Int64 // revisions below this one have no request any more, they say
	stop := make(chan struct{})
	var users sync.WaitGroup
	served := make([]atomic.Int64, 8)
	for i := range served {
		users.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if status, body := get(p, "/shop/"); status != http.StatusOK || strings.Contains(body, "late") {
					t.Errorf("%d %s", status, body)
					return
				}
				served[i].Add(1)
			}
		})
	}
	for n := int64(1); n <= 2000; n++ {
		v, err := p.start(t.Context(), webapps.App{New: func(webapps.Context) (http.Handler, error) {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				runtime.Gosched()
				if n < ended.Load() {
					fmt.Fprint(w, "late: ")
				}
				fmt.Fprint(w, n)
			}), nil
		}}, "", "")
		if err != nil {
			t.Fatal(err)
		}
		_, idle := p.swap(v)
		<-idle
		ended.Store(n)
	}
	close(stop)
	users.Wait()
	if n := p.current.Load().InFlight(); n != 0 {
		t.Errorf("%d requests in flight", n)
	}
	for i := range served {
		if served[i].Load() == 0 {
			t.Errorf("user %d was not served", i)
		}
	}
}

// A request that waits in the old revision keeps it, and no other.
func TestSwapLeavesRequestsWhereTheyAre(t *testing.T) {
	synctest.Test(t, testSwapLeavesRequestsWhereTheyAre)
}

func testSwapLeavesRequestsWhereTheyAre(t *testing.T) {
	in, out := make(chan bool), make(chan bool)
	slow := webapps.App{Name: "shop", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			in <- true
			<-out
			fmt.Fprint(w, "old")
		}), nil
	}}
	tab := table(t, io.Discard, slow)
	p := tab.Find("shop")
	answer := make(chan string)
	go func() { _, body := get(p, "/shop/"); answer <- body }()
	<-in
	old := p.current.Load()
	v, err := p.start(t.Context(), says("shop", "new"), "", "")
	if err != nil {
		t.Fatal(err)
	}
	_, idle := p.swap(v)
	if _, body := get(p, "/shop/"); body != "new" || old.InFlight() != 1 {
		t.Errorf("after the swap: %q, %d in the old revision", body, old.InFlight())
	}
	select {
	case <-idle:
		t.Error("the old revision is idle while it serves")
	default:
	}
	out <- true
	if body := <-answer; body != "old" {
		t.Errorf("the request that had begun: %q", body)
	}
	<-idle
}
