package session

import (
	"net/http"
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of the buckets in which times of requests are counted.
var bounds = []time.Duration{
	500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond,
	25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

const buckets = 15 // one more than bounds: what took longer

// Latency says how long requests of one method and one class of status took.
type Latency struct {
	Method string // in capitals; "other": none of those that HTTP itself has
	Class  string // 1xx to 5xx
	Count  uint64
	Sum    time.Duration
	Within map[float64]uint64 // how many took no longer than so many seconds
}

var (
	methods = [...]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace, "other",
	}
	classes = [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}
)

// meter counts how long requests take. It costs a clock reading and two additions each. Safe for
// concurrent use.
type meter struct {
	of [len(methods)][len(classes)]atomic.Pointer[times]
}

type times struct {
	sum   atomic.Int64 // ns
	count [buckets]atomic.Uint64
}

// observe counts a request. A status of 0 is what net/http sends where the handler says nothing.
func (m *meter) observe(method string, status int, took time.Duration) {
	if status == 0 {
		status = http.StatusOK
	}
	i, class := 0, min(max(status/100, 1), len(classes))-1
	for i < len(methods)-1 && methods[i] != method {
		i++
	}
	at := &m.of[i][class]
	t := at.Load()
	if t == nil {
		at.CompareAndSwap(nil, new(times))
		t = at.Load()
	}
	n := 0
	for n < len(bounds) && took > bounds[n] {
		n++
	}
	t.count[n].Add(1)
	t.sum.Add(int64(took))
}

// read is what was counted.
func (m *meter) read() (list []Latency) {
	for i := range methods {
		for k := range classes {
			t := m.of[i][k].Load()
			if t == nil {
				continue
			}
			l := Latency{Method: methods[i], Class: classes[k], Sum: time.Duration(t.sum.Load()), Within: map[float64]uint64{}}
			for n := range t.count {
				l.Count += t.count[n].Load()
				if n < len(bounds) {
					l.Within[bounds[n].Seconds()] = l.Count
				}
			}
			list = append(list, l)
		}
	}
	return list
}

// Latencies says how long requests have taken since the node's start, those that were refused
// included: from their heads to the end of their handlers and commits.
func (a *App) Latencies() []Latency { return a.meter.read() }
