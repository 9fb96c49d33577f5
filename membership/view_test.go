package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b1    = ID{"b", 1}
	c1    = ID{"c", 1}
)

// ms is a time of a test: milliseconds since it began.
func ms(n int) time.Time { return epoch.Add(time.Duration(n) * time.Millisecond) }

// script drives a view through time, ticking every 50 ms, and keeps what it answered: "1000 b
// suspect" for a change, "1000 b?" for a probe wanted.
type script struct {
	view *View
	now  int
	got  []string
}

func newScript() *script {
	return &script{view: NewView(Timing{SuspectAfter: time.Second, DownAfter: 3 * time.Second})}
}

func (s *script) keep(at int, st Step) {
	for _, c := range st.Changes {
		s.got = append(s.got, fmt.Sprintf("%d %s %s", at, c.Name, c.State))
	}
	for _, id := range st.Probe {
		s.got = append(s.got, fmt.Sprintf("%d %s?", at, id.Name))
	}
}

// to lets time pass, with ticks.
func (s *script) to(at int) {
	for s.now+50 <= at {
		s.now += 50
		s.keep(s.now, s.view.Tick(ms(s.now)))
	}
	s.now = at
}

func (s *script) connected(id ID) {
	s.keep(s.now, s.view.Connected(ms(s.now), Status{Member: Member{ID: id}}))
}
func (s *script) heard(id ID)             { s.keep(s.now, s.view.Heard(ms(s.now), id)) }
func (s *script) closed(id ID)            { s.keep(s.now, s.view.Closed(ms(s.now), id)) }
func (s *script) ended(id ID)             { s.keep(s.now, s.view.Ended(ms(s.now), id, "left")) }
func (s *script) probed(id ID, o Outcome) { s.keep(s.now, s.view.Probed(ms(s.now), id, o)) }

func TestViewOverTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(s *script)
		want string // answers after "0 b alive"
	}{
		{"heartbeats keep it alive", func(s *script) {
			for range 40 {
				s.to(s.now + 250)
				s.heard(b1)
			}
		}, ""},
		{"a closed link makes it suspect at once, a refused probe gone", func(s *script) {
			s.to(500)
			s.closed(b1)
			s.to(502)
			s.probed(b1, Refused)
		}, "500 b suspect, 500 b?, 502 b gone"},
		{"silence makes it suspect, two failed probes gone", func(s *script) {
			s.to(1500)
			s.probed(b1, Failed)
			s.to(2000)
			s.probed(b1, Failed)
		}, "1000 b suspect, 1000 b?, 1500 b?, 2000 b gone"},
		{"probes that never end don't keep it", func(s *script) {
			s.to(9000)
		}, "1000 b suspect, 1000 b?, 3000 b gone"},
		{"heard again in time", func(s *script) {
			s.to(1500)
			s.heard(b1)
			s.to(1600)
			s.probed(b1, Failed)
			s.to(2400)
		}, "1000 b suspect, 1000 b?, 1500 b alive"},
		{"who answers probes stays suspect, and is asked again", func(s *script) {
			s.to(1100)
			s.probed(b1, Answered)
			s.to(1700)
			s.probed(b1, Answered)
			s.to(5000)
		}, "1000 b suspect, 1000 b?, 1600 b?, 2200 b?, 4700 b gone"},
		{"one probe may be lost", func(s *script) {
			s.to(1100)
			s.probed(b1, Failed)
			s.to(1200)
			s.probed(b1, Answered)
			s.to(1700)
			s.probed(b1, Failed)
		}, "1000 b suspect, 1000 b?, 1100 b?, 1700 b?, 1700 b?"},
		{"what this node could not ask is no failure", func(s *script) {
			s.to(1100)
			s.probed(b1, Unasked)
			s.to(1600)
			s.probed(b1, Unasked)
			s.to(2100)
			s.probed(b1, Failed)
			s.to(2900)
		}, "1000 b suspect, 1000 b?, 1600 b?, 2100 b?, 2100 b?"},
		{"another incarnation at its address", func(s *script) {
			s.closed(b1)
			s.probed(b1, Replaced)
		}, "0 b suspect, 0 b?, 0 b gone"},
		{"leaving needs no suspicion", func(s *script) {
			s.to(100)
			s.ended(b1)
			s.closed(b1)
			s.to(5000)
		}, "100 b gone"},
		{"the same incarnation comes back from gone", func(s *script) {
			s.closed(b1)
			s.probed(b1, Refused)
			s.to(700)
			s.connected(b1)
			s.to(1500)
		}, "0 b suspect, 0 b?, 0 b gone, 700 b alive"},
		{"a new link ends suspicion", func(s *script) {
			s.closed(b1)
			s.to(200)
			s.connected(b1)
			s.probed(b1, Failed)
			s.to(1000)
			s.heard(b1)
			s.to(1900)
		}, "0 b suspect, 0 b?, 200 b alive"},
		{"a message on a closed link is too late", func(s *script) {
			s.closed(b1)
			s.to(100)
			s.heard(b1)
		}, "0 b suspect, 0 b?"},
		{"a late outcome does not touch who is gone", func(s *script) {
			s.to(3000)
			s.probed(b1, Answered)
			s.to(4000)
		}, "1000 b suspect, 1000 b?, 3000 b gone"},
		{"what is said of strangers is ignored", func(s *script) {
			s.heard(c1)
			s.closed(c1)
			s.ended(c1)
			s.probed(c1, Refused)
			s.keep(0, s.view.Announced(c1, true, true))
		}, ""},
		{"a pause of this process is held against nobody", func(s *script) {
			s.to(500)
			s.heard(b1)
			s.now = 60_000 // no ticks: it was stopped
			s.to(61_100)
		}, "61050 b suspect, 61050 b?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScript()
			s.connected(b1)
			tt.run(s)
			want := append([]string{"0 b alive"}, split(tt.want)...)
			if !slices.Equal(s.got, want) {
				t.Errorf("answers:\n%s\nwant:\n%s", strings.Join(s.got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ", ")
}

func TestViewTold(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.connected(b1)
	if st := s.view.Announced(b1, true, false); len(st.Changes) != 1 || !st.Changes[0].Ready {
		t.Errorf("first time announced: %+v", st)
	}
	if st := s.view.Announced(b1, true, false); len(st.Changes) != 0 {
		t.Errorf("announced the same again: %+v", st)
	}
	s.ended(b1)
	if m := s.view.Members(); m[0].Ready || m[0].State != Gone {
		t.Errorf("after it left: %+v", m)
	}
}

// A member that is gone for certain is told apart from one that is only silent, which may be at the
// other side of a split; one that is back is neither.
func TestViewTellsEndedFromSilent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		end   func(s *script)
		ended bool
	}{
		"left":     {func(s *script) { s.ended(b1) }, true},
		"refused":  {func(s *script) { s.closed(b1); s.probed(b1, Refused) }, true},
		"replaced": {func(s *script) { s.closed(b1); s.probed(b1, Replaced) }, true},
		"silent":   {func(s *script) { s.to(4000) }, false},
		"no answer": {func(s *script) {
			s.closed(b1)
			s.probed(b1, Failed)
			s.to(1000)
			s.probed(b1, Failed)
		}, false},
	} {
		s := newScript()
		s.connected(b1)
		c.end(s)
		if m := s.view.Members()[0]; m.State != Gone || m.Ended != c.ended {
			t.Errorf("%s: %+v", name, m)
		}
		s.connected(b1)
		if m := s.view.Members()[0]; m.State == Alive && m.Ended {
			t.Errorf("%s, and back: %+v", name, m)
		}
	}
}

func TestViewListsTheGoneForAWhile(t *testing.T) {
	t.Parallel()
	s := newScript()
	s.connected(c1)
	s.connected(b1)
	s.ended(b1)
	var names []string
	for _, m := range s.view.Members() {
		names = append(names, m.Name+" "+m.State.String())
	}
	if want := []string{"b gone", "c alive"}; !slices.Equal(names, want) {
		t.Errorf("members %v, want %v", names, want)
	}
	for range 11 * 60 * 2 {
		s.to(s.now + 500)
		s.heard(c1)
	}
	if m := s.view.Members(); len(m) != 1 || m[0].ID != c1 || s.view.State(b1) != 0 {
		t.Errorf("after 11 minutes: %+v", m)
	}
}

// Whatever happens in whatever order: nobody who is heard twice per second is held gone unless told
// so, and nobody who is silent is alive for longer than SuspectAfter or not gone after DownAfter.
func TestViewByChance(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := newScript()
		s.connected(b1) // heard regularly, but its probes go wrong
		s.connected(c1) // never heard, but connected now and then
		last := 0
		for range 200 {
			s.to(s.now + r.IntN(400))
			s.heard(b1)
			switch r.IntN(12) {
			case 0:
				s.probed(b1, Failed)
			case 1:
				s.connected(c1)
				last = s.now
			case 2:
				s.closed(c1)
			case 3:
				s.probed(c1, Failed)
			}
			if st := s.view.State(b1); st != Alive {
				t.Fatalf("seed %d at %d: b is %v", seed, s.now, st)
			}
			st := s.view.State(c1)
			silent := s.now - last
			if silent > 1100 && st == Alive || silent > 3100 && st != Gone {
				t.Fatalf("seed %d at %d: c is %v after %d ms of silence", seed, s.now, st, silent)
			}
		}
	}
}
