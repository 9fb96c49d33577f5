package demo

import (
	"fmt"
	"io"
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

func (t *timeline) say(who, format string, args ...any) { t.sayAt(time.Now(), who, format, args...) }

func (t *timeline) sayAt(at time.Time, who, format string, args ...any) {
	e := Event{at, who, fmt.Sprintf(format, args...)}
	t.events = append(t.events, e)
	_, _ = fmt.Fprintf(t.out, "%s  %-10s  %s\n", e.Time.Format(clock), e.Who, e.What) // nobody to tell
}
