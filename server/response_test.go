package server

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nodeserver/nodeserver/webapps"
)

// writesN is an app whose handler is given.
func writesN(h http.HandlerFunc) webapps.App {
	return webapps.App{Name: "test", Version: "1", New: func(webapps.Context) (http.Handler, error) { return h, nil }}
}

// alone runs a node with one handler and returns it, ready.
func alone(t *testing.T, h http.HandlerFunc) *node {
	t.Helper()
	n := startNode(t, testConf("n1"), writesN(h))
	n.waitReady()
	return n
}

func do(t *testing.T, method, url string, header http.Header) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, b
}

// TestAnswersAreLikeNetHTTPs serves handlers bare and in the pipeline, and
// compares what goes out.
func TestAnswersAreLikeNetHTTPs(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 10000) // over what is held
	text := string(big)
	handlers := map[string]http.HandlerFunc{
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"short":     func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") },
		"html":      func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>sniffed</html>") },
		"status":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) },
		"no body":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"unchanged": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
		"length": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5")
			fmt.Fprint(w, "hello")
		},
		"big":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(big) },
		"string": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) },
		"copied": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, bytes.NewReader(big)) },
		"content": func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "x.txt", time.Unix(1e9, 0), bytes.NewReader(big))
		},
		"error":    func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusBadRequest) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"flushed": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "a")
			_ = http.NewResponseController(w).Flush()
			fmt.Fprint(w, "b")
		},
		"trailer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-Sum")
			fmt.Fprint(w, "body")
			w.Header().Set("X-Sum", "42")
		},
		"late trailer": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(big[:10000])
			w.Header().Set(http.TrailerPrefix+"X-Sum", "42")
		},
	}
	requests := map[string]struct {
		method string
		header http.Header
	}{
		"GET with a session":   {"GET", http.Header{"Session": {"new"}}},
		"HEAD with a session":  {"HEAD", http.Header{"Session": {"new"}}},
		"range with a session": {"GET", http.Header{"Session": {"new"}, "Range": {"bytes=70000-70009"}}},
		"GET":                  {"GET", nil},
		"HEAD":                 {"HEAD", nil},
		"range":                {"GET", http.Header{"Range": {"bytes=70000-70009"}}},
		"ranges":               {"GET", http.Header{"If-Modified-Since": {time.Unix(2e9, 0).UTC().Format(http.TimeFormat)}}},
	}
	one := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Session") != "" && r.Header.Get("Bare") == "" {
			report(t, webapps.SessionOf(r).Set("n", 1))
		}
		handlers[r.Header.Get("Handler")](w, r)
	}
	bare := httptest.NewServer(http.HandlerFunc(one))
	defer bare.Close()
	node := alone(t, one)
	for name := range handlers {
		for how, q := range requests {
			header := http.Header{"Handler": {name}}
			maps.Copy(header, q.header)
			bareHeader := header.Clone()
			bareHeader.Set("Bare", "yes")
			want, wantBody := do(t, q.method, bare.URL+"/", bareHeader)
			got, gotBody := do(t, q.method, node.url+"/test/", header)
			if q.header["Session"] != nil {
				if cookieOf(t, got.Header) == "" {
					t.Errorf("%s %s: no cookie", how, name)
				}
				got.Header.Del("Set-Cookie")
				if got.Header.Get("Cache-Control") == "private" {
					got.Header.Del("Cache-Control")
				}
				if got.Header.Get("Vary") == "Cookie" {
					got.Header.Del("Vary")
				}
				got.Header.Del("Nodeserver-Replicated") // to nobody: there is no other node
			}
			if name == "redirect" {
				want.Header.Set("Location", "/elsewhere")
			}
			got.Header.Del("Nodeserver-Node")
			got.Header.Del("Date")
			want.Header.Del("Date")
			// A length may be told where net/http had to chunk; nothing else may differ.
			if cl := got.Header.Get(
				"Content-Length",
			); cl != "" && want.Header.Get("Content-Length") == "" && q.method == "GET" &&
				cl == strconv.Itoa(len(wantBody)) {
				got.Header.Del("Content-Length")
			} else if q.method == "HEAD" &&
				want.Header.Get("Content-Length") == "" {
				got.Header.Del("Content-Length")
			}
			if got.StatusCode != want.StatusCode || !bytes.Equal(gotBody, wantBody) || fmt.Sprint(got.Header) != fmt.Sprint(want.Header) ||
				fmt.Sprint(got.Trailer) != fmt.Sprint(want.Trailer) {
				t.Errorf("%s %s: %d %v %v (%d bytes), net/http: %d %v %v (%d bytes)", how, name,
					got.StatusCode, got.Header, got.Trailer, len(gotBody), want.StatusCode, want.Header, want.Trailer, len(wantBody))
			}
		}
	}
}

func TestSSEGoesOutAsItIsWritten(t *testing.T) {
	next := make(chan bool)
	n := alone(t, func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			_ = s.Set("n", i)
			if err := s.Commit(r.Context()); err != nil {
				t.Error(err)
			}
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	r, err := http.Get(n.url + "/test/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.Header["Set-Cookie"] == nil {
		t.Error("no cookie before the first event")
	}
	lines := bufio.NewScanner(r.Body)
	for i := range 3 {
		lines.Scan()
		if got, want := lines.Text(), fmt.Sprintf("data: %d", i); got != want {
			t.Errorf("event %d: %q", i, got)
		}
		lines.Scan()
		next <- true
	}
}

func TestWebSocketGetsTheCookieAndCommits(t *testing.T) {
	cfg := testConf("n1")
	cfg.HTTP.MaxBodyBytes = 1 // of a body: what comes over a hijacked connection is none
	n := startNode(t, cfg, writesN(func(w http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		if r.URL.Path == "/get" {
			v, _, _ := webapps.Get[string](s, "said")
			fmt.Fprint(w, v)
			return
		}
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.CloseNow() //nolint:errcheck // the test is over
		_, b, err := c.Read(r.Context())
		if err != nil {
			t.Error(err)
		}
		_ = s.Set("said", string(b))
		if err := s.Commit(r.Context()); err != nil {
			t.Error(err)
		}
		_ = c.Write(r.Context(), websocket.MessageText, []byte("saved"))
	}))
	n.waitReady()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, resp, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(n.url, "http")+"/test/ws", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow() //nolint:errcheck // the test is over
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("the upgrade's answer brings %d cookies", len(cookies))
	}
	_ = c.Write(ctx, websocket.MessageText, []byte("hi"))
	if _, b, err := c.Read(ctx); err != nil || string(b) != "saved" {
		t.Fatalf("%q %v", b, err)
	}
	_, b := do(t, "GET", n.url+"/test/get", http.Header{"Cookie": {cookies[0].Name + "=" + cookies[0].Value}})
	if string(b) != "hi" {
		t.Errorf("the session holds %q", b)
	}
}

func TestHTTP2(t *testing.T) {
	const users = 20
	var all sync.WaitGroup
	all.Add(users)
	n := alone(t, func(w http.ResponseWriter, r *http.Request) {
		s, mine := webapps.SessionOf(r), r.FormValue("user")
		_ = s.Set("user", mine)
		if mine != "" { // all at once, on one connection
			all.Done()
			all.Wait()
			again, _, err := webapps.Get[string](webapps.SessionOf(r.Clone(context.WithoutCancel(r.Context()))), "user")
			if again != mine || err != nil {
				t.Errorf("%s is taken for %s", mine, again)
			}
		}
		fmt.Fprint(w, r.Proto)
	})
	// The node's own listener has no certificate here: serve its handler by TLS.
	own := n.server.httpServer()
	s := httptest.NewUnstartedServer(own.Handler)
	s.Config.ConnContext = own.ConnContext
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	c := s.Client()
	c.Transport.(*http.Transport).TLSClientConfig.NextProtos = []string{"h2"}
	r, err := c.Get(s.URL + "/test/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	if string(b) != "HTTP/2.0" || r.TLS == nil || r.TLS.NegotiatedProtocol != "h2" || r.TLS.Version != tls.VersionTLS13 {
		t.Errorf("answered by %s", b)
	}
	if r.Header["Set-Cookie"] == nil {
		t.Error("no cookie")
	}
	var answered sync.WaitGroup
	for i := range users {
		answered.Go(func() {
			r, err := c.Get(s.URL + "/test/?user=u" + strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				all.Done()
				return
			}
			_ = r.Body.Close()
		})
	}
	answered.Wait()
}

func TestDeadlinesReachTheConnection(t *testing.T) {
	n := alone(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
	})
	do(t, "GET", n.url+"/test/", nil)
}

type nullWriter struct{ h http.Header }

func (w *nullWriter) Header() http.Header         { return w.h }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *nullWriter) WriteHeader(int)             {}
