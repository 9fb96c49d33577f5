package channel

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// guard is the lock of a channel's state. Unlock is the only way to release it, and then writes the
// log lines that came up meanwhile: writing a log may block, so it must not happen under the lock.
type guard struct {
	mu  sync.Mutex
	log *slog.Logger
	book
}

// Lock takes the lock.
func (g *guard) Lock() { g.mu.Lock() }

// Unlock releases the lock and writes the lines.
func (g *guard) Unlock() {
	lines := g.lines
	g.lines = nil
	g.mu.Unlock()
	for _, l := range lines {
		g.log.Log(context.Background(), l.level, l.text, l.args...) //nolint:sloglint // all texts are constants
	}
}

// say is add for callers that don't hold the lock.
func (g *guard) say(l line) {
	g.Lock()
	defer g.Unlock()
	g.add(time.Now(), l)
}

// line is one line for the log.
type line struct {
	level slog.Level
	text  string
	args  []any

	// kind limits lines that others can cause as often as they like: the first one is written, and
	// then one a minute, with the count of those left out.
	kind string
	// A line about a subject is written only if what differs from the subject's latest line, so
	// that a condition which lasts for hours is one line.
	subject, what string
}

func debug(text string, args ...any) line {
	return line{level: slog.LevelDebug, text: text, args: args}
}

func info(text string, args ...any) line {
	return line{level: slog.LevelInfo, text: text, args: args}
}

func warn(text string, args ...any) line {
	return line{level: slog.LevelWarn, text: text, args: args}
}

func (l line) seldom(kind string) line {
	l.kind = kind
	return l
}

func (l line) once(subject, what string) line {
	l.subject, l.what = subject, what
	return l
}

// book decides which lines are written. It is pure: time is an argument, and lines only collects
// what is to be written.
type book struct {
	lines  []line
	latest map[string]string   // what was written last, by subject
	kinds  map[string]*leftOut // by line.kind
}

// leftOut is what was not written of a kind.
type leftOut struct {
	last  time.Time // of the latest line written
	count int       // of lines left out since
}

func (b *book) add(now time.Time, l line) {
	if l.subject != "" && b.latest[l.subject] == l.what {
		return
	}
	if l.subject != "" {
		if b.latest == nil || len(b.latest) >= 4*maxCandidates { // a line twice is better than none
			b.latest = map[string]string{}
		}
		b.latest[l.subject] = l.what
	}
	if l.kind != "" {
		k := b.kinds[l.kind]
		switch {
		case k == nil:
			if b.kinds == nil {
				b.kinds = map[string]*leftOut{}
			}
			k = &leftOut{}
			b.kinds[l.kind] = k
		case now.Sub(k.last) < rarely:
			k.count++
			return
		case k.count > 0:
			l.args = append(l.args, "more", k.count)
		}
		k.last, k.count = now, 0
	}
	b.lines = append(b.lines, l)
}

// clear says that the condition of the subject is over: the next line about it is written.
func (b *book) clear(subject string) { delete(b.latest, subject) }

// changed is the log line of a change in the member list.
func changed(ch membership.Change) line {
	switch {
	case ch.State == ch.Was:
		return debug("member announced", "member", ch.ID, "ready", ch.Ready, "draining", ch.Draining, "apps", strings.Join(ch.Apps, " "))
	case ch.State == membership.Alive && ch.Was == membership.Suspect:
		return info("member alive again", "event", "alive", "member", ch.ID)
	case ch.State == membership.Alive:
		return info("member joined", "event", "joined", "member", ch.ID, "addr", ch.ChannelAddress, "http", ch.HTTPAddress)
	case ch.State == membership.Suspect:
		return warn("member suspect", "event", "suspect", "member", ch.ID, "why", ch.Why)
	case strings.HasPrefix(ch.Why, "left"):
		return info("member left", "event", "left", "member", ch.ID, "why", ch.Why)
	}
	return warn("member gone", "event", "gone", "member", ch.ID, "why", ch.Why)
}
