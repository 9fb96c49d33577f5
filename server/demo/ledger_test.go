package demo

import (
	"strings"
	"testing"
	"time"
)

func TestJudge(t *testing.T) {
	for _, tc := range []struct {
		name             string
		last, n          int
		same, duringKill bool
		want             finding
	}{
		{"first visit", 0, 1, false, false, good},
		{"next", 7, 8, true, false, good},
		{"the same again", 7, 7, true, false, lostWrite},
		{"less", 7, 2, true, false, lostWrite},
		{"less, at the kill", 7, 6, true, true, lostWrite},
		{"more", 7, 9, true, false, skipped},
		{"more, asked twice at the kill", 7, 9, true, true, repeated},
		{"a new session", 7, 1, false, false, lostSession},
		{"a new session that happens to fit", 7, 8, false, true, lostSession},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := judge(tc.last, tc.n, tc.same, tc.duringKill); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

// Only a request that was under way when the node was killed may have been
// carried out twice.
func TestDuringKill(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(1000 + ms)) }
	for _, tc := range []struct {
		name            string
		killed          [2]time.Time
		asked, answered int
		want            bool
	}{
		{"no kill", [2]time.Time{}, 1, 2, false},
		{"answered before", [2]time.Time{at(5), at(7)}, 1, 4, false},
		{"across", [2]time.Time{at(5), at(7)}, 1, 9, true},
		{"asked of a dying node", [2]time.Time{at(5), at(7)}, 6, 9, true},
		{"asked after", [2]time.Time{at(5), at(7)}, 8, 9, false},
		{"not over yet", [2]time.Time{at(5)}, 8, 9, true},
	} {
		l := &ledger{}
		l.killing(tc.killed[0], tc.killed[1])
		if got := l.duringKill(wait{asked: at(tc.asked), answered: at(tc.answered)}); got != tc.want {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	r := Result{Pass: true, Requests: 12, Failover: 3.44}
	if got, want := r.Line(), "PASS 12 requests, 0 errors, 0 lost writes, 0 lost sessions, failover 3.4 ms"; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	r = Result{Requests: 12, LostWrites: 2, Failover: 31.2, Problem: "n1 has ended\nlast lines", Logs: "/tmp/x"}
	want := "FAIL 12 requests, 0 errors, 2 lost writes, 0 lost sessions, failover 31 ms; first: n1 has ended; logs: /tmp/x"
	if got := r.Line(); got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestTimelineIsInOrder(t *testing.T) {
	var out strings.Builder
	l := timeline{out: &out}
	now := time.Now()
	l.inOrder(event(now.Add(2*time.Second), "n1", "second %d", 2), event(now.Add(time.Second), "members", "first"))
	lines := strings.Split(out.String(), "\n")
	if !strings.HasSuffix(lines[0], "  members     first") || !strings.HasSuffix(lines[1], "  n1          second 2") || len(l.events) != 2 {
		t.Errorf("%q", lines)
	}
}
