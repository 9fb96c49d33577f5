package console

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
	"github.com/nodeserver/nodeserver/server/events"
)

// timeline is what the page of events shows, the latest first.
type timeline struct {
	Text, Node string // what was searched
	Nodes      []string
	Events     []eventRow
	More       int // events that were left out
	Limit      int // a higher one, to see them
	Silent     []admin.SilentRow
}

// eventRow is an event, with the day where that is another than of the row above.
type eventRow struct {
	events.Event
	Day  string
	Mark mark
}

// How many events the page has: as it is, and at most.
const (
	fewEvents  = 200
	manyEvents = 5000
)

func (c *Console) events(w http.ResponseWriter, r *http.Request) {
	list, silent := c.node.Events(r.Context())
	data := timeline{Text: r.FormValue("q"), Node: r.FormValue("node"), Silent: silent, Limit: manyEvents}
	limit := fewEvents
	if n, err := strconv.Atoi(r.FormValue("limit")); err == nil && n > 0 {
		limit = min(n, manyEvents)
	}
	day := ""
	for _, e := range slices.Backward(list) {
		if !slices.Contains(data.Nodes, e.Node) {
			data.Nodes = append(data.Nodes, e.Node)
		}
		if data.Node != "" && e.Node != data.Node || !found(e, data.Text) {
			continue
		}
		if len(data.Events) >= limit {
			data.More++
			continue
		}
		row := eventRow{Event: e, Mark: mark{levels[e.Level], kinds[e.Level]}}
		if d := e.Time.Local().Format(time.DateOnly); d != day {
			row.Day, day = d, d
		}
		data.Events = append(data.Events, row)
	}
	slices.Sort(data.Nodes)
	c.show(w, r, http.StatusOK, "events.html", "Events", data)
}

// levels are those of the log in a word, kinds how good they are.
var (
	levels = map[string]string{"INFO": "info", "WARN": "warning", "ERROR": "error"}
	kinds  = map[string]string{"INFO": "none", "WARN": "warn", "ERROR": "bad"}
)

// found tells whether all words are in the event.
func found(e events.Event, words string) bool {
	in := strings.ToLower(strings.Join([]string{e.Node, string(e.Kind), e.Text}, " "))
	for word := range strings.FieldsSeq(strings.ToLower(words)) {
		if !strings.Contains(in, word) {
			return false
		}
	}
	return true
}
