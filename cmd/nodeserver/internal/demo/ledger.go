package demo

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// ledger gathers what all visitors find. Safe for concurrent use.
type ledger struct {
	mu     sync.Mutex
	result Result
	killed [2]time.Time // when the signal was about to be sent, and when the node was gone; zero before
	moves  []wait       // first answers after the kill of those who had to move
}

// wait is a visitor's wait for one answer.
type wait struct {
	asked, answered time.Time
	node            string
}

// killing notes when the kill began, and when it was over (zero: not yet).
func (l *ledger) killing(from, to time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.killed = [2]time.Time{from, to}
}

// duringKill tells whether a request was under way at the kill.
func (l *ledger) duringKill(w wait) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	from, to := l.killed[0], l.killed[1]
	return !from.IsZero() && w.answered.After(from) && (to.IsZero() || w.asked.Before(to))
}

// answer enters one answer of a visitor.
func (l *ledger) answer(visitor int, f finding, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Requests++
	switch f {
	case good:
		return
	case lostSession:
		l.result.LostSessions++
	case lostWrite:
		l.result.LostWrites++
	case wrong:
		l.result.Errors++
	}
	l.wrong(visitor, what)
}

// cutOff enters a request that the kill has broken off, and that nobody may
// send twice: the visitor looks what has become of it.
func (l *ledger) cutOff() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Requests++
	l.result.CutOff++
}

// moved enters the first answer after the kill of a visitor of the killed node.
func (l *ledger) moved(w wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moves = append(l.moves, w)
}

// failed enters a request without a good answer.
func (l *ledger) failed(visitor int, what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Requests++
	l.result.Errors++
	l.wrong(visitor, what)
}

// unconfirmed enters an answer that came though no other node had confirmed
// the write in time.
func (l *ledger) unconfirmed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.result.Unconfirmed++
}

// wrong keeps the first thing wrong; mu is held.
func (l *ledger) wrong(visitor int, what string) {
	if l.result.Problem == "" {
		l.result.Problem = fmt.Sprintf("%s visitor %d: %s", time.Now().Format(clock), visitor, what)
	}
}

func (l *ledger) snapshot() (Result, []wait) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result, append([]wait(nil), l.moves...)
}

// Result is what a demo found. Durations are in milliseconds.
type Result struct {
	Schema       string  `json:"schema"` // nodeserver.demo/1
	Pass         bool    `json:"pass"`
	Problem      string  `json:"problem,omitempty"` // first thing wrong; details on further lines
	Logs         string  `json:"logs,omitempty"`    // folder, kept if something is wrong
	Discovery    string  `json:"discovery"`         // mdns or static
	Requests     int     `json:"requests"`
	Errors       int     `json:"errors"`
	LostWrites   int     `json:"lost_writes"`
	LostSessions int     `json:"lost_sessions"`
	CutOff       int     `json:"cut_off"`     // POST requests under way at the kill: visitors looked what had become of them
	Unconfirmed  int     `json:"unconfirmed"` // answered though no other node had confirmed the write
	Killed       string  `json:"killed"`      // node
	KilledHomeOf int     `json:"killed_home"` // visitors it served
	FirstAnswer  float64 `json:"first_ms"`    // from SIGKILL to the first answer to one of them
	Failover     float64 `json:"failover_ms"` // longest that one of them waited for the answer that moved him
	GoneAfter    float64 `json:"gone_ms"`     // until the others had removed it
	ReadyAfter   float64 `json:"ready_ms"`    // from its new start to ready
	WholeAfter   float64 `json:"whole_ms"`    // and until it had all sessions
	Seconds      float64 `json:"seconds"`     // the whole run
	Events       []Event `json:"events"`
}

// Line is the verdict for people, on one line.
func (r Result) Line() string {
	sum := fmt.Sprintf("%d requests, %d errors, %d lost writes, %d lost sessions, failover %s",
		r.Requests, r.Errors, r.LostWrites, r.LostSessions, inMS(r.Failover))
	if r.Pass {
		return "PASS " + sum
	}
	problem, _, _ := strings.Cut(r.Problem, "\n")
	line := fmt.Sprintf("FAIL %s; first: %s", sum, problem)
	if r.Logs != "" {
		line += "; logs: " + r.Logs
	}
	return line
}

func inMS(ms float64) string {
	if ms < 10 {
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
