package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance/smuggling"
)

// recorder is an app at "/" that appends each request to a file, and answers with the same line.
const recorder = `
import ("encoding/json"; "io")

func Webapp() webapps.App {
	return webapps.App{Name: "recorder", New: func(webapps.Context) (http.Handler, error) {
		file, err := os.OpenFile(os.Getenv("E2E_SEEN"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			line, _ := json.Marshal(map[string]any{
				"text": r.Method + " " + r.RequestURI + " " + string(body), "host": r.Host, "cut": err != nil, "header": r.Header,
			})
			line = append(line, '\n')
			file.Write(line)
			w.Header().Set("Recorder", "yes")
			w.Write(line)
		}), nil
	}}
}
`

// seen is a request as the recorder has it.
type seen struct {
	Text   string      `json:"text"` // method, target and body
	Host   string      `json:"host"`
	Cut    bool        `json:"cut"` // the body has broken off
	Header http.Header `json:"header"`
}

// record is the recorder's file.
type record struct {
	file string
	at   int // how far it has been read
}

// take returns the requests since the last call. Those that were cut off are apart, since nobody
// can be answered.
func (r *record) take(t *testing.T) (whole, cut []string) {
	t.Helper()
	b, err := os.ReadFile(r.file)
	if err != nil {
		t.Fatal(err)
	}
	end := strings.LastIndexByte(string(b), '\n') + 1
	for line := range strings.Lines(string(b[r.at:end])) {
		if parseSeen(t, line).Cut {
			cut = append(cut, line)
		} else {
			whole = append(whole, line)
		}
	}
	r.at = end
	return whole, cut
}

func parseSeen(t *testing.T, line string) (s seen) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &s); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return s
}

// talk is a connection on which a client has sent a case.
type talk struct {
	mu       sync.Mutex
	answers  []string // of the recorder
	statuses []string // of all answers
	at       time.Time
	over     chan struct{} // closed at the connection's end
}

func (k *talk) read(c net.Conn) {
	defer close(k.over)
	in := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close() // of a connection that is closed below
		k.mu.Lock()
		k.at = time.Now()
		k.statuses = append(k.statuses, fmt.Sprint(res.StatusCode))
		if err == nil && res.Header.Get("Recorder") != "" {
			k.answers = append(k.answers, string(body))
		}
		k.mu.Unlock()
	}
}

func (k *talk) now() (answers, statuses []string, quiet time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.answers), slices.Clone(k.statuses), time.Since(k.at)
}

// silence is for how long nothing must come before a client has had all its answers.
const silence = 300 * time.Millisecond

// say sends a case, and waits until the connection ends, or nothing comes any more and what the
// nodes have seen is what was answered.
func (r *record) say(t *testing.T, address string, sent smuggling.Case) (statuses, answers, whole, cut []string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	k := &talk{at: time.Now(), over: make(chan struct{})}
	go k.read(c)
	_, _ = io.WriteString(c, sent.Text) // it may have been closed already
	if sent.Ends {
		_ = c.(*net.TCPConn).CloseWrite()
	}
	for ended := false; !ended; {
		select {
		case <-k.over:
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
		more, parts := r.take(t)
		whole, cut = append(whole, more...), append(cut, parts...)
		var quiet time.Duration
		answers, statuses, quiet = k.now()
		all := slices.Equal(answers, whole) && (len(statuses) > 0 || quiet > 10*silence)
		ended = ended || quiet > silence && all || quiet > 20*time.Second
	}
	_ = c.Close()
	<-k.over
	answers, statuses, _ = k.now()
	return statuses, answers, whole, cut
}

// recording starts nodes with the recorder.
func recording(t *testing.T) (cluster, *record) {
	t.Helper()
	r := &record{file: filepath.Join(t.TempDir(), "seen")}
	t.Setenv("E2E_SEEN", r.file)
	apps := plugin(t, "recorder", recorder)
	if err := os.Link(filepath.Join(webapp, "bench.so"), filepath.Join(apps, "bench.so")); err != nil {
		t.Fatal(err)
	}
	c := loopback(t)
	for _, n := range c {
		n.hosting(t, "\n[[app]]\nname = \"recorder\"\npath = \"/\"\n")
		n.args = append(n.args, "--set", "webapps.dir="+apps)
		n.start()
	}
	c.await(t, startLimit)
	return c, r
}

// fronts are our balancer and the others, each with the file that lb-config prints.
func fronts(t *testing.T, each func(t *testing.T, name, address string, r *record)) {
	t.Helper()
	c, r := recording(t)
	for _, name := range []string{"nodeserver balance", "haproxy", "nginx", "apache", "caddy"} {
		t.Run(name, func(t *testing.T) {
			if balancers[name].program == "" {
				each(t, name, door(t, c, "http.trusted_proxies=192.0.2.1").http, r) // clients are on loopback
			} else {
				each(t, name, balancer(t, c, name), r)
			}
		})
	}
}

// Whatever a client sends, through whichever balancer: the nodes get the requests that the client
// is answered, and no others, and no other client gets one of these answers.
func TestSmugglingThroughBalancers(t *testing.T) {
	fronts(t, func(t *testing.T, name, address string, r *record) {
		count := map[string]int{}
		for _, sent := range smuggling.Corpus() {
			statuses, answers, whole, cut := r.say(t, address, sent)
			if !slices.Equal(answers, whole) {
				t.Errorf("%s: answered %q, and the nodes have seen %q", sent.Name, answers, whole)
			}
			// What follows a request on the connection is one of its own if the first was answered.
			if len(whole) > 0 && hidden(t, whole[0]) && final(statuses) == len(whole) {
				t.Errorf("%s: answers %q, and the nodes have seen %q", sent.Name, statuses, whole)
			}
			onlyOuter(t, sent.Name, cut)
			t.Logf("%-20s %-36s %-12s %d whole, %d cut off", name, sent.Name, strings.Join(statuses, " "), len(whole), len(cut))
			count[fmt.Sprintf("%d requests", len(whole))]++
			bystanders(t, address, r, sent.Name)
		}
		t.Logf("%s: %v", name, count)
	})
}

// hidden tells whether a request is the one that the corpus hides in others.
func hidden(t *testing.T, line string) bool {
	t.Helper()
	return strings.HasPrefix(parseSeen(t, line).Text, "GET /smuggled ")
}

// final counts the answers that are no 1xx.
func final(statuses []string) (n int) {
	for _, s := range statuses {
		if s[0] != '1' {
			n++
		}
	}
	return n
}

// onlyOuter checks requests that were cut off. A node may note one a moment later than its client
// is answered, so while another client is served.
func onlyOuter(t *testing.T, after string, cut []string) {
	t.Helper()
	for _, line := range cut {
		if !strings.HasPrefix(parseSeen(t, line).Text, "POST /a ") {
			t.Errorf("%s: the nodes have seen %s, cut off", after, line)
		}
	}
}

// bystanders are other users, who get answers to their own requests: no connection to a node has
// anything left on it.
func bystanders(t *testing.T, address string, r *record, after string) {
	t.Helper()
	for i := range 4 {
		text := fmt.Sprintf("GET /bystander/%d HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n", i)
		statuses, answers, whole, cut := r.say(t, address, smuggling.Case{Text: text})
		onlyOuter(t, after, cut)
		if len(whole) != 1 || !slices.Equal(answers, whole) {
			t.Fatalf("after %s: a bystander was answered %q, %q; the nodes have seen %q", after, statuses, answers, whole)
		}
		if s := parseSeen(t, whole[0]); s.Text != fmt.Sprintf("GET /bystander/%d ", i) || s.Host != "b" {
			t.Fatalf("after %s: a bystander's request is %+v", after, s)
		}
	}
}

// No field of a client passes for one that a balancer writes.
func TestClientsSetNoFieldOfBalancers(t *testing.T) {
	ours := []string{
		"X-Forwarded-For: 6.6.6.6", "X-Forwarded-For: 7.7.7.7", "x-forwarded-proto: https", "X-Forwarded-Host: evil",
		"X-Forwarded-Port: 443", "X-Forwarded-Server: evil", "X-Forwarded-Ssl: on", "X-Forwarded-Scheme: https",
		"Forwarded: for=6.6.6.6;proto=https;host=evil", "X-Real-IP: 6.6.6.6", "True-Client-IP: 6.6.6.6", "X-Request-Id: mine",
		"Front-End-Https: on", "X_Forwarded_For: 6.6.6.6", "Proxy-Connection: keep-alive", "TE: trailers, gzip",
		"Keep-Alive: 5", "Upgrade-Insecure-Requests: 1",
	}
	for what, more := range map[string]string{
		"plain":               "Connection: close",
		"named by Connection": "Connection: close, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Request-Id, Host, Cookie",
	} {
		t.Run(what, func(t *testing.T) {
			fronts(t, func(t *testing.T, _, address string, r *record) {
				text := "GET /a HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(ours, more), "\r\n") + "\r\n\r\n"
				statuses, answers, whole, _ := r.say(t, address, smuggling.Case{Text: text})
				if len(whole) != 1 || !slices.Equal(answers, whole) {
					t.Fatalf("answers %q: %q, seen %q", statuses, answers, whole)
				}
				s := parseSeen(t, whole[0])
				for name, want := range map[string]string{
					"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "", "Forwarded": "",
					"X-Real-Ip": "", "True-Client-Ip": "", "X-Forwarded-Port": "", "X-Forwarded-Server": "", "X-Forwarded-Ssl": "",
					"X-Forwarded-Scheme": "", "Front-End-Https": "",
				} {
					if got := strings.Join(s.Header[name], "+"); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				if id := s.Header.Get("X-Request-Id"); id == "mine" || len(id) < 16 {
					t.Errorf("X-Request-Id: %q", id)
				}
				if s.Host != "x" {
					t.Errorf("Host: %q", s.Host)
				}
			})
		})
	}
}
