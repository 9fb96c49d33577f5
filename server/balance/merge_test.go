package balance

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// says builds a report from "name:state" rows; states are ready, joining,
// draining, suspect and gone, with "#n" for another incarnation.
func says(who string, heard int, rows ...string) *report {
	r := &report{addr: who + ":4001", heard: second(heard)}
	for _, spec := range rows {
		name, state, _ := strings.Cut(spec, ":")
		state, incarnation, _ := strings.Cut(state, "#")
		s := membership.Status{State: membership.Alive}
		s.Name, s.Incarnation = name, uint64(1+len(incarnation))
		s.ChannelAddress, s.HTTPAddress = name+":4001", name+":8081"
		switch state {
		case "ready":
			s.Ready = true
		case "draining":
			s.Draining = true
		case "suspect":
			s.State, s.Ready = membership.Suspect, true
		case "gone":
			s.State = membership.Gone
		}
		r.rows = append(r.rows, row{s, second(heard)})
	}
	return r
}

func second(n int) time.Time { return time.Unix(int64(n), 0) }

func TestMerge(t *testing.T) {
	for _, tc := range []struct {
		name    string
		reports []*report
		want    string // name:use[#incarnation]
	}{
		{"nobody says anything", nil, ""},
		{"all well", []*report{says("a", 1, "a:ready", "b:ready"), says("b", 1, "a:ready", "b:ready")}, "a:3 b:3"},
		{"one watch shows all", []*report{says("a", 1, "a:ready", "b:ready", "c:joining", "d:draining")}, "a:3 b:3 d:1"},
		{"joining", []*report{says("a", 1, "a:ready", "b:joining"), says("b", 1, "a:ready", "b:joining")}, "a:3"},
		{"others don't know yet that it is ready", []*report{says("a", 1, "a:ready", "b:joining"), says("b", 1, "b:ready")}, "a:3 b:3"},
		{"it alone knows that it drains", []*report{says("a", 1, "a:ready", "b:ready"), says("b", 1, "b:draining")}, "a:3 b:1"},
		{
			"another hears late that it joined",
			[]*report{says("a", 1, "a:ready", "b:ready"), says("c", 2, "b:joining", "c:ready")},
			"a:3 b:3 c:3",
		},
		{"killed, its watch broke", []*report{says("a", 1, "a:ready", "b:gone"), says("c", 1, "b:suspect", "c:ready")}, "a:3 b:1 c:3"},
		{"killed, all know", []*report{says("a", 2, "a:ready", "b:gone"), says("c", 1, "b:gone", "c:ready")}, "a:3 c:3"},
		{"killed, the last to know", []*report{says("a", 2, "a:ready", "b:gone"), says("c", 1, "b:ready", "c:ready")}, "a:3 c:3"},
		{
			"suspected while its own watch is up",
			[]*report{says("a", 2, "a:ready", "b:suspect"), says("b", 1, "a:ready", "b:ready")},
			"a:3 b:2",
		},
		{"cut in two: each gives the other up", []*report{says("a", 9, "a:ready", "b:gone"), says("b", 9, "a:gone", "b:ready")}, "a:1 b:1"},
		{"a new incarnation beside the old", []*report{says("a", 2, "a:ready", "b:gone", "b:ready#x")}, "a:3 b:3#2"},
		{
			"another still tells of the old incarnation's end",
			[]*report{says("a", 1, "a:ready", "b:ready#x"), says("c", 2, "b:gone", "c:ready")},
			"a:3 b:3#2 c:3",
		},
		{
			"its own word on an incarnation others don't know",
			[]*report{says("a", 2, "a:ready", "b:gone"), says("b", 1, "b:ready#x")},
			"a:3 b:3#2",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, n := range merge(tc.reports) {
				if n.Use == 0 {
					continue // listed for its apps
				}
				s := fmt.Sprintf("%s:%d", n.Name, n.Use)
				if n.Incarnation != 1 {
					s += fmt.Sprintf("#%d", n.Incarnation)
				}
				got = append(got, s)
				if n.Address != n.Name+":8081" {
					t.Errorf("address %q of %s", n.Address, n.Name)
				}
			}
			if got := strings.Join(got, " "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestDoubtful(t *testing.T) {
	for _, tc := range []struct {
		name    string
		reports []*report
		want    string
	}{
		{"all well", []*report{says("a", 2, "a:ready", "b:ready"), says("b", 1, "a:ready", "b:ready")}, ""},
		{"suspected since it spoke", []*report{says("a", 2, "a:ready", "b:suspect"), says("b", 1, "a:ready", "b:ready")}, "b"},
		{
			"given up since it spoke, by two",
			[]*report{says("a", 2, "a:ready", "b:gone"), says("b", 1, "b:ready"), says("c", 3, "b:gone")},
			"b",
		},
		{"it has spoken since", []*report{says("a", 2, "a:ready", "b:gone"), says("b", 3, "a:gone", "b:ready")}, "a"},
		{"its former incarnation is gone", []*report{says("a", 2, "a:ready", "b:gone"), says("b", 1, "b:ready#x")}, ""},
	} {
		var got []string
		for _, r := range doubtful(tc.reports) {
			got = append(got, strings.TrimSuffix(r.addr, ":4001"))
		}
		if got := strings.Join(got, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
		if again := doubtful(tc.reports); len(again) != 0 {
			t.Errorf("%s: in doubt twice", tc.name)
		}
	}
}

// A row is as old as what it says, not as the list that repeats it.
func TestReportKeepsAges(t *testing.T) {
	r := &report{}
	list := func(s membership.State) []membership.Status {
		return []membership.Status{{Member: membership.Member{ID: membership.ID{Name: "b", Incarnation: 1}}, State: s}}
	}
	r.note(second(1), list(membership.Alive))
	r.note(second(2), list(membership.Alive))
	if !r.rows[0].since.Equal(second(1)) || !r.heard.Equal(second(2)) {
		t.Errorf("since %v, heard %v; want 1 and 2", r.rows[0].since, r.heard)
	}
	r.note(second(3), list(membership.Gone))
	if !r.rows[0].since.Equal(second(3)) {
		t.Errorf("since %v, want 3", r.rows[0].since)
	}
}

func TestMoveLog(t *testing.T) {
	var l moveLog
	some := []Rehomed{{"a", "b", 2}, {"a", "c", 1}}
	for i, tc := range []struct {
		at    time.Duration
		fresh []Rehomed
		want  string
	}{
		{0, nil, "[]"},
		{100, some, "[]"},
		{200, some, "[]"},
		{1100, nil, "[]"},
		{1200, nil, "[{a b 4} {a c 2}]"},
		{1300, nil, "[]"},
	} {
		if got := fmt.Sprint(l.tick(second(9).Add(tc.at*time.Millisecond), tc.fresh)); got != tc.want {
			t.Errorf("step %d: %s, want %s", i, got, tc.want)
		}
	}
	for ms := time.Duration(0); ms <= 10_000; ms += 500 {
		got := l.tick(second(20).Add(ms*time.Millisecond), some)
		if (len(got) > 0) != (ms == 10_000) {
			t.Fatalf("after %d ms of moves: %v", ms, got)
		}
	}
}
