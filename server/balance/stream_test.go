package balance_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func known(t *testing.T, d *door) {
	t.Helper()
	until(t, "nodes are known", func() bool { return d.log.count("node added") > 0 })
}

// An upload reaches the node as it comes, whatever its size.
func TestUploadsAreStreamed(t *testing.T) {
	a, got := newBackend(t, "a"), make(chan int64)
	const piece, pieces = 1 << 20, 32
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sum int64
		for {
			n, err := io.CopyN(io.Discard, r.Body, piece)
			if sum += n; err != nil {
				break
			}
			got <- sum
		}
		_, _ = fmt.Fprint(w, sum)
	})
	d := open(t, fixed(a))
	known(t, d)
	for _, length := range []int64{-1, piece * pieces} { // chunked, and of known length
		body, in := io.Pipe()
		go func() {
			for i := range pieces {
				if _, err := in.Write(make([]byte, piece)); err != nil {
					t.Error(err)
				}
				if sum := <-got; sum != int64(i+1)*piece { // before there is any more
					t.Errorf("after %d pieces the node has %d bytes", i+1, sum)
				}
			}
			_ = in.Close()
		}()
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/up/", body)
		r.ContentLength = length
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if string(answer) != fmt.Sprint(piece*pieces) || err != nil {
			t.Errorf("%s %v", answer, err)
		}
	}
}

// When a user goes away, the node is told.
func TestAbortReachesTheNode(t *testing.T) {
	a := newBackend(t, "a")
	began, over := make(chan bool), make(chan bool)
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			_ = http.NewResponseController(w).Flush()
		}
		began <- true
		<-r.Context().Done()
		over <- true
	})
	d := open(t, fixed(a))
	known(t, d)
	for _, path := range []string{"/silent", "/begun"} {
		ctx, cancel := context.WithCancel(t.Context())
		r, _ := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
		go func() {
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		}()
		<-began
		cancel()
		select {
		case <-over:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the node goes on for a user who has gone", path)
		}
	}
	if n := d.Stats(); n.Errors != 0 || n.Downs != 0 || len(n.Withheld) != 0 {
		t.Errorf("it is held against the node: %+v", n)
	}
}

func TestTrailersPass(t *testing.T) {
	a := newBackend(t, "a")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		body, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %s", body, r.Trailer.Get("X-Check"))
		w.Header().Set("X-Sum", "5")
	})
	d := open(t, fixed(a))
	known(t, d)
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, d.url+"/x", io.MultiReader(strings.NewReader("hello")))
	r.Trailer = http.Header{"X-Check": {"abc"}}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); string(body) != "hello abc" || res.Trailer.Get("X-Sum") != "5" || err != nil {
		t.Errorf("%q, trailer %v, %v", body, res.Trailer, err)
	}
}

// A user who asks whether to send a body is told by the node.
func TestExpectIsTheNodesToAnswer(t *testing.T) {
	a := newBackend(t, "a")
	a.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	d := open(t, fixed(a))
	known(t, d)
	for path, want := range map[string]string{"/taken": "100 200 hello", "/refused": "413 too large\n"} {
		c, err := net.Dial("tcp", strings.TrimPrefix(d.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", path)
		in := bufio.NewReader(c)
		var got string
		for {
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if got += fmt.Sprint(res.StatusCode, " ", string(body)); res.StatusCode >= 200 {
				break
			}
			_, _ = io.WriteString(c, "hello")
		}
		if got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}
