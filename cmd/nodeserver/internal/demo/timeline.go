package demo

import (
	"fmt"
	"io"
	"slices"
	"time"
)

const clock = "15:04:05.000"

// Event is one line of the time line.
type Event struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	What string    `json:"what"`
}

// timeline prints what happens, and keeps it. For one goroutine.
type timeline struct {
	out    io.Writer
	events []Event
}

func (t *timeline) say(who, format string, args ...any) {
	t.inOrder(event(time.Now(), who, format, args...))
}

func event(at time.Time, who, format string, args ...any) Event {
	return Event{at, who, fmt.Sprintf(format, args...)}
}

// inOrder says what happened a while ago, and only now is known.
func (t *timeline) inOrder(list ...Event) {
	slices.SortFunc(list, func(a, b Event) int { return a.Time.Compare(b.Time) })
	for _, e := range list {
		t.events = append(t.events, e)
		_, _ = fmt.Fprintf(t.out, "%s  %-10s  %s\n", e.Time.Format(clock), e.Who, e.What) // nobody to tell
	}
}
