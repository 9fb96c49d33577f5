package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/events"
)

// EventsReply is what /api/v1/events answers, unless events are followed.
type EventsReply struct {
	Schema   string         `json:"schema"`   // nodeserver.events/1
	Node     string         `json:"node"`     // who answers
	Position string         `json:"position"` // for the query "after" of the next question
	Events   []events.Event `json:"events"`   // by time
	Silent   []SilentRow    `json:"silent"`   // members whose events are not among them
}

// SilentRow is a member that has not answered.
type SilentRow struct {
	Name    string `json:"name"`
	Problem string `json:"problem"`
}

const (
	maxFollowers = 64
	quietTime    = 15 * time.Second // after which a follower gets a sign of life
)

// serveEvents answers with the node's events or, with all=true, those of all members: after a
// position, as JSON or, if the client takes text/event-stream, as they come.
func (a *admin) serveEvents(w http.ResponseWriter, r *http.Request) {
	after, err := events.ParsePositions(cmp.Or(r.Header.Get("Last-Event-ID"), r.FormValue("after")))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	all := r.FormValue("all") == "true"
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		a.streamEvents(w, r, after, all)
		return
	}
	reply := EventsReply{Schema: "nodeserver.events/1", Node: a.cfg.ID.Name}
	reply.Events, reply.Silent = a.eventsAfter(r.Context(), after, all)
	reply.Position = after.String()
	answer(w, reply)
}

// eventsAfter are the events so far, by time; after is moved on behind them.
func (a *admin) eventsAfter(ctx context.Context, after events.Positions, all bool) (list []events.Event, silent []SilentRow) {
	list, silent = []events.Event{}, []SilentRow{}
	type answer struct {
		own     []events.Event
		missing []SilentRow
	}
	ask := func(ctx context.Context, m membership.Status) (got answer) {
		err := a.eventsOf(ctx, m, after[m.Name], false, func(e events.Event) error {
			got.own = append(got.own, e)
			return nil
		})
		if err != nil {
			got.missing = []SilentRow{{m.Name, noAnswer(ctx, err)}}
		}
		return got
	}
	for _, got := range askAll(ctx, a.followed(all), ask) {
		list, silent = append(list, got.own...), append(silent, got.missing...)
	}
	slices.SortStableFunc(list, func(x, y events.Event) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Node, y.Node), cmp.Compare(x.Seq, y.Seq))
	})
	slices.SortFunc(silent, func(x, y SilentRow) int { return cmp.Compare(x.Name, y.Name) })
	for _, e := range list {
		after.Read(e)
	}
	return list, silent
}

// noAnswer says why a member has not answered.
func noAnswer(ctx context.Context, err error) string {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", answerTime)
	}
	return "no answer: " + err.Error()
}

// followed are the members whose events are asked for.
func (a *admin) followed(all bool) (list []membership.Status) {
	for _, m := range a.node.Members() {
		if m.ID == a.cfg.ID || all && m.State != membership.Gone {
			list = append(list, m)
		}
	}
	return list
}

func (a *admin) eventsOf(
	ctx context.Context, m membership.Status, after events.Position, follow bool, to func(events.Event) error,
) error {
	if m.ID == a.cfg.ID {
		return a.node.Events().Follow(ctx, after, follow, to)
	}
	return a.node.EventsOf(ctx, m.Member, after, follow, to)
}

// streamEvents sends events as server-sent events, those so far by time and then as they come.
func (a *admin) streamEvents(w http.ResponseWriter, r *http.Request, after events.Positions, all bool) {
	if a.followers.Add(1) > maxFollowers {
		a.followers.Add(-1)
		http.Error(w, fmt.Sprintf("%d clients follow the events already: end one", maxFollowers), http.StatusServiceUnavailable)
		return
	}
	defer a.followers.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	flush := func() error { return http.NewResponseController(w).Flush() }
	send := func(e events.Event) error {
		after.Read(e)
		data, err := json.Marshal(e)
		if err == nil {
			_, err = fmt.Fprintf(w, "id: %s\ndata: %s\n\n", after, data)
		}
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	read := maps.Clone(after)
	list, _ := a.eventsAfter(ctx, maps.Clone(after), all)
	for _, e := range list {
		if send(e) != nil {
			return
		}
		read.Read(e)
	}
	live := a.live(ctx, read, all)
	quiet := time.NewTicker(quietTime)
	defer quiet.Stop()
	for flush() == nil {
		select {
		case <-ctx.Done():
			return
		case <-quiet.C:
			if _, err := fmt.Fprint(w, ":\n\n"); err != nil {
				return
			}
		case e := <-live:
			if send(e) != nil {
				return
			}
		}
	}
}

// lookTime is how often it is looked whether there are members whose events are not followed yet.
const lookTime = time.Second

// live are the events after the positions, as they come, until ctx ends. A member that is lost is
// asked again, from where its events were read, until it is gone.
func (a *admin) live(ctx context.Context, read events.Positions, all bool) <-chan events.Event {
	out := make(chan events.Event)
	var mu sync.Mutex // of read and busy
	busy := map[membership.ID]bool{}
	follow := func(m membership.Status) {
		mu.Lock()
		after := read[m.Name]
		mu.Unlock()
		_ = a.eventsOf(ctx, m, after, true, func(e events.Event) error { // it is asked again
			select {
			case out <- e:
			case <-ctx.Done():
				return ctx.Err()
			}
			mu.Lock()
			defer mu.Unlock()
			read.Read(e)
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		delete(busy, m.ID)
	}
	look := func() {
		mu.Lock()
		defer mu.Unlock()
		for _, m := range a.followed(all) {
			if !busy[m.ID] {
				busy[m.ID] = true
				go follow(m)
			}
		}
	}
	go func() {
		again := time.NewTicker(lookTime)
		defer again.Stop()
		for ctx.Err() == nil {
			look()
			select {
			case <-ctx.Done():
			case <-again.C:
			}
		}
	}()
	return out
}
