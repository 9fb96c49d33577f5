package servertest_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/servertest"
	"github.com/nodeserver/nodeserver/webapps"
)

// ticker streams numbers as server-sent events, and notes the last one in the
// session: a user who comes back goes on from there.
func ticker() webapps.App {
	return webapps.App{Name: "ticker", New: func(c webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s := webapps.SessionOf(r)
			n, _, err := webapps.Get[int](s, "n")
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, "retry: 10\n\n")
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for ; err == nil && n < 20 && r.Context().Err() == nil; <-pace.C {
				n++
				if err = errors.Join(s.Set("n", n), s.Commit(r.Context())); err == nil {
					fmt.Fprintf(w, "id: %d\nevent: tick\ndata: %s\n\n", n, c.Node())
					err = http.NewResponseController(w).Flush()
				}
			}
		}), nil
	}}
}

// eventSource is a browser's EventSource, as the HTML standard has it (part
// 9.2): cookies, fields, the last event's id, and a new connection when one ends.
type eventSource struct {
	browser http.Client
	last    string
}

// follow connects once, and hands on each event until the stream ends.
func (e *eventSource) follow(at string, each func(id, event, data string)) error {
	r, err := http.NewRequest(http.MethodGet, at, http.NoBody)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "text/event-stream")
	if e.last != "" {
		r.Header.Set("Last-Event-Id", e.last)
	}
	resp, err := e.browser.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		return errors.New(resp.Status)
	}
	fields := map[string]string{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = strings.TrimPrefix(value, " ")
		} else if fields["data"] != "" { // an empty line ends an event
			e.last = fields["id"]
			each(fields["id"], fields["event"], fields["data"])
			clear(fields)
		}
	}
	return lines.Err()
}

// A node dies in the middle of a stream: the browser connects again, to another
// node, and misses nothing.
func TestEventSourceOutlivesItsNode(t *testing.T) {
	t.Parallel()
	c := servertest.Start(t, 3, ticker())
	jar, _ := cookiejar.New(nil)
	e := &eventSource{browser: http.Client{Jar: jar}}
	var got []int
	var from []string
	node := 0
	for end := time.Now().Add(20 * time.Second); len(got) < 20 && time.Now().Before(end); {
		_ = e.follow(c.URL(node), func(id, event, data string) { // how a stream ends is no matter: the browser comes again
			n, _ := strconv.Atoi(id)
			if event != "tick" || e.last != id {
				t.Errorf("event %q %q", event, id)
			}
			got, from = append(got, n), append(from, data)
			if len(got) == 5 || len(got) == 12 {
				c.Kill(node)
				node++
			}
		})
	}
	next := 1 // an event whose answer was cut off is not seen, but has happened
	for _, n := range got {
		if n != next && n != next+1 {
			t.Fatalf("events %v", got)
		}
		next = n + 1
	}
	if next < 20 || from[0] != "n1" || from[len(from)-1] != "n3" {
		t.Errorf("events %v from %v", got, from)
	}
}

// The limit of bodies, as users meet it.
func TestBodyLimit(t *testing.T) {
	t.Parallel()
	app := webapps.App{Name: "a", New: func(webapps.Context) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, err := io.ReadAll(r.Body)
			fmt.Fprint(w, len(b), err)
		}), nil
	}}
	c := servertest.Start(t, 1, app, func(c *config.Config) { c.HTTP.MaxBodyBytes = 100 })
	u := c.Visitor()
	if got := u.PostForm("/", url.Values{"k": {strings.Repeat("v", 98)}}); got.Status != 200 || got.Body != "100 <nil>" {
		t.Errorf("100 bytes: %d %q", got.Status, got.Body)
	}
	for _, size := range []int{99, 1 << 20, 20 << 20} {
		got := u.PostForm("/", url.Values{"k": {strings.Repeat("v", size)}})
		if got.Status != http.StatusRequestEntityTooLarge || !strings.Contains(got.Body, "http.max_body_bytes") ||
			got.Header.Get("Nodeserver-Retry") != "" {
			t.Errorf("%d bytes: %d %q %v", size+2, got.Status, got.Body, got.Header)
		}
	}
	r := httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	if got := u.Do(r); got.Body != "0 <nil>" {
		t.Errorf("no body: %q", got.Body)
	}
}
