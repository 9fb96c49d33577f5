package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/events"
	"github.com/nodeserver/nodeserver/server/operators"
)

// A failover can be read from one time line of all nodes, at any of them; a node that hangs is
// named.
func TestEventsOfAllNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(3, testApp(), nil)
		pass(time.Second)
		guard := guarded(t, nodes[0])
		b.apart(nodes[2], nodes[:2]...)
		var reply admin.EventsReply
		looks(t, guard, "/api/v1/events?all=true", &reply)
		if len(reply.Silent) != 1 || reply.Silent[0] != (admin.SilentRow{Name: "n3", Problem: "no answer within 1s"}) {
			t.Errorf("silent: %+v", reply.Silent)
		}
		position := reply.Position
		pass(5 * time.Second)
		b.heal(nodes[2], nodes[:2]...)
		b.whole(10*time.Second, nodes...)
		looks(t, guard, "/api/v1/events?all=true&after="+position, &reply)
		var last time.Time
		line := ""
		for _, e := range reply.Events {
			if e.Time.Before(last) {
				t.Errorf("%+v comes after %v", e, last)
			}
			last = e.Time
			line += e.Node + " " + string(e.Kind) + ": " + e.Text + "\n"
		}
		n3 := nodes[2].server.id.String()
		for _, want := range []string{
			"n1 suspect: " + n3 + " is suspect: ", "n2 gone: " + n3 + " is gone: ", "n1 joined: " + n3 + " has joined", "n3 gone: n1#",
		} {
			if !strings.Contains(line, want) {
				t.Errorf("no %q in\n%s", want, line)
			}
		}
		if strings.Contains(line, "n1 started") {
			t.Errorf("events from before %s:\n%s", position, line)
		}
		var own admin.EventsReply
		looks(t, guard, "/api/v1/events", &own)
		for _, e := range own.Events {
			if e.Node != "n1" {
				t.Errorf("asked for those of n1: %+v", e)
			}
		}
		w := httptest.NewRecorder()
		guard.ServeHTTP(w, httptest.NewRequest("GET", "http://127.0.0.1/api/v1/events?after=x", http.NoBody))
		if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "is no position") {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// piped is a response that another goroutine reads.
type piped struct {
	header http.Header
	*io.PipeWriter
}

func (p piped) Header() http.Header { return p.header }
func (p piped) WriteHeader(int)     {}
func (p piped) Flush()              {}

// stream follows events from a position, and hands over each with its id.
func stream(ctx context.Context, guard *operators.Guard, position string) <-chan [2]string {
	out := make(chan [2]string, 100)
	r, w := io.Pipe()
	in := bufio.NewScanner(r)
	go func() {
		q := httptest.NewRequest("GET", "http://127.0.0.1/api/v1/events?all=true", http.NoBody).WithContext(ctx)
		q.Header.Set("Accept", "text/event-stream")
		q.Header.Set("Last-Event-ID", position)
		guard.ServeHTTP(piped{http.Header{}, w}, q)
		_ = w.Close() // its reader has ended, or ends now
	}()
	go func() {
		defer close(out)
		var id string
		for in.Scan() {
			if text, ok := strings.CutPrefix(in.Text(), "id: "); ok {
				id = text
			}
			if text, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				var e events.Event
				if json.Unmarshal([]byte(text), &e) == nil {
					out <- [2]string{id, e.Node + " " + e.Text}
				}
			}
		}
	}()
	return out
}

// Whoever follows hears of what happens at each node, and after a break of what they missed, once.
func TestEventsAreFollowed(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		nodes := b.cluster(2, testApp(), nil)
		pass(time.Second)
		guard := guarded(t, nodes[0])
		ctx, cancel := context.WithCancel(t.Context())
		heard := func(from <-chan [2]string, text string) (id string, others int) {
			t.Helper()
			for e := range from {
				if id = e[0]; e[1] == text {
					return id, others
				}
				others++
			}
			t.Fatalf("the stream ended without %q", text)
			return "", 0
		}
		drain := func(on bool) {
			t.Helper()
			if err := nodes[1].server.setDraining(on); err != nil {
				t.Fatal(err)
			}
		}
		first := stream(ctx, guard, "")
		heard(first, "n2 n2 has started, version (devel)")
		pass(2 * time.Second)
		drain(true)
		id, _ := heard(first, "n2 n2 drains: its users go to other nodes")
		cancel()
		synctest.Wait()
		drain(false) // nobody listens
		pass(2 * time.Second)
		ctx, cancel = context.WithCancel(t.Context())
		second := stream(ctx, guard, id)
		if _, others := heard(second, "n2 n2 no longer drains: users may come"); others != 0 {
			t.Errorf("%d events came again", others)
		}
		pass(2 * time.Second)
		drain(true)
		heard(second, "n2 n2 drains: its users go to other nodes")
		cancel()
		synctest.Wait()
	})
}
