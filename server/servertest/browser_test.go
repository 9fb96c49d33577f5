//go:build browser

package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
)

// page follows events while nodes die, then talks over a WebSocket, and tells
// what it has seen.
const page = `<!doctype html><script>
const seen = [], tell = text => fetch("tell", {method: "POST", body: text});
const events = new EventSource("events");
events.addEventListener("tick", e => {
	seen.push(e.lastEventId + "@" + e.data);
	if (seen.length == 5 || seen.length == 12) fetch("kill", {method: "POST"});
	if (e.lastEventId < 20) return;
	events.close();
	const socket = new WebSocket(location.href.replace("http", "ws") + "socket");
	socket.onopen = () => socket.send("hello");
	socket.onmessage = async m => tell(seen.join(" ") + "; " + m.data + "; " + await (await fetch("said")).text());
	socket.onerror = () => tell("the socket failed");
});
</script>`

// talker is ticker with a page, and a socket that notes what it is told.
func talker(told chan<- string, kill func()) webapps.App {
	app := ticker()
	stream := app.New
	app.New = func(c webapps.Context) (http.Handler, error) {
		events, err := stream(c)
		mux := http.NewServeMux()
		mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
			webapps.SessionOf(r)
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
		})
		mux.Handle("/events", events)
		mux.HandleFunc("/kill", func(http.ResponseWriter, *http.Request) { kill() })
		mux.HandleFunc("/tell", func(_ http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			told <- string(b)
		})
		mux.HandleFunc("/said", func(w http.ResponseWriter, r *http.Request) {
			said, _, err := webapps.Get[string](webapps.SessionOf(r), "said")
			fmt.Fprint(w, said, err)
		})
		mux.HandleFunc("/socket", func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			socket, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer socket.CloseNow() //nolint:errcheck // the browser may have closed it
			_, b, err := socket.Read(r.Context())
			err = errors.Join(err, s.Set("said", string(b)), s.Commit(r.Context()))
			n, _, _ := webapps.Get[int](s, "n")
			_ = socket.Write(r.Context(), websocket.MessageText, fmt.Appendf(nil, "%s %d %v", b, n, err))
		})
		return mux, err
	}
	return app
}

// A real browser, whose EventSource and WebSocket go through a balancer while
// two of three nodes die.
func TestBrowser(t *testing.T) {
	told, kills := make(chan string, 1), make(chan bool, 2)
	c := servertest.Start(t, 3, talker(told, func() { kills <- true }))
	var home atomic.Int64
	door := httptest.NewServer(&httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) {
		to, _ := url.Parse(c.URL(int(home.Load())))
		r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
	}})
	defer door.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	browser := exec.CommandContext(
		ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--user-data-dir="+t.TempDir(),
		"--remote-debugging-port=0", door.URL+"/ticker/",
	)
	if err := browser.Start(); err != nil {
		t.Fatal(err)
	}
	defer browser.Wait() //nolint:errcheck // it is killed
	defer cancel()
	for {
		select {
		case <-kills:
			dead := int(home.Add(1)) - 1
			c.Kill(dead)
		case got := <-told:
			t.Log(got)
			if want := "; hello 20 <nil>; hello<nil>"; len(got) < len(want) || got[len(got)-len(want):] != want {
				t.Errorf("want all events%s", want)
			}
			return
		case <-ctx.Done():
			t.Fatal("the browser has told nothing")
		}
	}
}
