package e2e

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

// outcome is what clients of a balancer saw during one phase of a test.
type outcome struct {
	requests, failed, cut, moved int
	lost, missed                 int // answers of another session than before, and of fewer increments; not counted for those that stay
	longest                      time.Duration
	first                        string // why the first one of these was not answered well
}

// load says what requests clients send, all of them increments.
type load struct {
	postEvery int  // every so many-th request is a POST with a body
	stay      bool // the cookies of the first answer are kept, so that a user comes back to a node that was restarted
}

// clients send requests, each one after the other, and note what they get.
type clients struct {
	load
	mu    sync.Mutex
	phase *outcome
	stop  chan struct{}
	all   sync.WaitGroup
}

func clientsOf(address string, n int, l load) *clients {
	c := &clients{load: l, phase: &outcome{}, stop: make(chan struct{})}
	for range n {
		c.all.Go(func() { c.client(address) })
	}
	return c
}

func (c *clients) client(address string) {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 30 * time.Second}
	u := &user{}
	route, last := "", reply{}
	for i := 0; ; i++ {
		select {
		case <-c.stop:
			return
		default:
		}
		method, body := http.MethodGet, io.Reader(nil)
		if i%c.postEvery == 0 {
			method, body = http.MethodPost, strings.NewReader(strings.Repeat("x", 512))
		}
		r, err := http.NewRequest(method, "http://"+address+"/bench/inc", body)
		if err != nil {
			panic(err)
		}
		u.send(r)
		begin := time.Now()
		w, err := client.Do(r)
		why := ""
		if err != nil {
			why = err.Error()
		} else {
			text, err := io.ReadAll(w.Body)
			_ = w.Body.Close()
			if !c.stay || u.id() == "" {
				u.keep(w.Cookies())
			}
			if err != nil || w.StatusCode != http.StatusOK {
				why = fmt.Sprintf("%s %s: %.100q %v", method, w.Status, text, err)
			} else if now, err := parse(string(text)); err == nil && !c.stay {
				c.compare(last, now)
				last = now
			}
		}
		_, now, _ := strings.Cut(u.id(), ".")
		c.note(method, time.Since(begin), why, route != "" && now != route)
		route = now
	}
}

// compare looks at what a client is answered, after what it was answered before.
func (c *clients) compare(last, now reply) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case last.sid == "":
	case now.sid != last.sid:
		c.phase.lost++
	case now.n <= last.n:
		c.phase.missed++
	}
}

func (c *clients) note(method string, took time.Duration, why string, moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.phase
	o.requests++
	o.longest = max(o.longest, took)
	if moved {
		o.moved++
	}
	if o.first == "" {
		o.first = why
	}
	switch {
	case why == "":
	case method == http.MethodPost && (strings.Contains(why, " 502 ") || strings.HasSuffix(why, "EOF")): // may have been carried out
		o.cut++
	default:
		o.failed++
	}
}

// next begins another phase and returns what the last one brought.
func (c *clients) next() outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := *c.phase
	c.phase = &outcome{}
	return o
}

// end ends the load and returns what the last phase brought.
func (c *clients) end() outcome {
	close(c.stop)
	c.all.Wait()
	return c.next()
}
