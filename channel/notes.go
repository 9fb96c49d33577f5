package channel

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// report makes a log line of a change.
func report(ch membership.Change) note {
	n := note{args: []any{"member", ch.ID}}
	switch {
	case ch.State == ch.Was:
		n.text, n.debug = "member told", true
		n.args = append(n.args, "ready", ch.Ready, "draining", ch.Draining)
	case ch.State == membership.Alive && ch.Was == membership.Suspect:
		n.text = "member alive again"
	case ch.State == membership.Alive:
		n.text = "member joined"
		n.args = append(n.args, "addr", ch.ChannelAddress, "http", ch.HTTPAddress)
	case ch.State == membership.Suspect:
		n.text, n.warn = "member suspect", true
		n.args = append(n.args, "why", ch.Why)
	case strings.HasPrefix(ch.Why, "left"):
		n.text = "member left"
		n.args = append(n.args, "why", ch.Why)
	default:
		n.text, n.warn = "member gone", true
		n.args = append(n.args, "why", ch.Why)
	}
	return n
}

// note is a log line that waits for mu to be free.
type note struct {
	debug, warn bool
	text        string
	args        []any
}

func (n note) level() slog.Level {
	switch {
	case n.debug:
		return slog.LevelDebug
	case n.warn:
		return slog.LevelWarn
	}
	return slog.LevelInfo
}

// later has a line logged when mu is given up by unlock. Called with mu held.
func (c *Channel) later(n note) { c.news = append(c.news, n) }

// unlock gives up mu and logs what came up.
func (c *Channel) unlock() {
	news := c.news
	c.news = nil
	c.mu.Unlock()
	for _, n := range news {
		c.log.Log(context.Background(), n.level(), n.text, n.args...) //nolint:sloglint // constants all, given to later and note
	}
}

// note logs a warning about a subject, unless it is what was logged last
// about it: what goes on for hours is one line.
func (c *Channel) note(subject, what, text string, args ...any) {
	c.mu.Lock()
	defer c.unlock()
	c.noteLocked(subject, what, text, args...)
}

func (c *Channel) noteLocked(subject, what, text string, args ...any) {
	if c.notes[subject] == what {
		return
	}
	if len(c.notes) >= 4*maxCandidates { // better told twice than never
		clear(c.notes)
	}
	c.notes[subject] = what
	c.later(note{warn: true, text: text, args: args})
}

// seldom logs a warning of a kind that others can cause as often as they like: at
// once, and then once a minute with the count of those that it left out. Called
// with mu held.
func (c *Channel) seldom(kind, text string, args ...any) {
	k := c.kinds[kind]
	if k == nil {
		k = &leftOut{}
		c.kinds[kind] = k
	}
	now := time.Now()
	if !k.last.IsZero() && now.Sub(k.last) < rarely {
		k.count++
		return
	}
	if k.count > 0 {
		args = append(args, "more", k.count)
	}
	k.last, k.count = now, 0
	c.later(note{warn: true, text: text, args: args})
}

// warn is seldom for callers that don't hold mu.
func (c *Channel) warn(kind, text string, args ...any) {
	c.mu.Lock()
	defer c.unlock()
	c.seldom(kind, text, args...)
}

// leftOut is what was not logged of a kind.
type leftOut struct {
	last  time.Time // when a line was
	count int       // since
}

func (c *Channel) noteClear(subject string) { delete(c.notes, subject) }

func (c *Channel) unnote(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteClear(subject)
}
