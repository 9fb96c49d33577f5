package balance

import (
	"slices"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// row is what one member says of one incarnation, and since when it says so.
type row struct {
	membership.Status
	since time.Time
}

// report is what one watched member says.
type report struct {
	addr    string // channel address it was watched at
	heard   time.Time
	rows    []row
	again   func() // ends the watch, so that the member is asked anew
	doubted bool   // again was called
}

// note takes a new list over. Rows that say what they said keep their age.
func (r *report) note(now time.Time, list []membership.Status) {
	var rows []row
	for _, s := range list {
		since := now
		for _, old := range r.rows {
			if old.ID == s.ID && old.State == s.State && old.Ready == s.Ready && old.Draining == s.Draining &&
				slices.Equal(old.Apps, s.Apps) {
				since = old.since
			}
		}
		rows = append(rows, row{s, since})
	}
	r.heard, r.rows = now, rows
}

// merge makes one list of several reports. It is pure.
//
// A member that can be watched itself is believed about itself. Others may only
// lower what it is used for: they may be the ones who are cut off. Of members
// that can't be watched the latest word counts.
func merge(reports []*report) []Node {
	var list []Node
	for _, name := range names(reports) {
		if n := merged(reports, name); n.Address != "" {
			list = append(list, n)
		}
	}
	return list
}

func names(reports []*report) (list []string) {
	for _, r := range reports {
		for _, w := range r.rows {
			list = append(list, w.Name)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func merged(reports []*report, name string) Node {
	said, self, own := opinions(reports, name)
	if own {
		return nodeOf(self, useOfSelf(self, said))
	}
	last := latest(said)
	last.Ready = readyToAny(said, last.ID)
	return nodeOf(last, useOfOther(last))
}

// readyToAny tells whether somebody calls this incarnation ready. A member that hears of that late
// must not take the node, and the requests in flight there, away again; a node that
// is ready no longer says so to each request.
func readyToAny(said []row, id membership.ID) bool {
	return slices.ContainsFunc(said, func(o row) bool { return o.ID == id && o.State != membership.Gone && o.Ready })
}

func nodeOf(r row, u Use) Node {
	return Node{
		Name:        r.Name,
		Incarnation: r.Incarnation,
		Address:     r.HTTPAddress,
		Use:         u,
		Domain:      r.Domain,
		TLS:         r.HTTPS,
		Apps:        appsOf(r.Member),
	}
}

// latest is the latest word on a member, where the end of one incarnation says
// nothing of another.
func latest(said []row) (last row) {
	for _, o := range said {
		if o.State != membership.Gone && (last.State == 0 || o.since.After(last.since)) {
			last = o
		}
	}
	for _, o := range said {
		if o.ID == last.ID && o.since.After(last.since) {
			last = o
		}
	}
	return last
}

// opinions are what each report says of the name's present incarnation, the member's
// own word apart.
func opinions(reports []*report, name string) (others []row, self row, own bool) {
	for _, r := range reports {
		w, ok := r.present(name)
		switch {
		case !ok:
		case w.ChannelAddress == r.addr:
			self, own = w, true
		default:
			others = append(others, w)
		}
	}
	return others, self, own
}

// present is the name's row: of several incarnations the one that isn't gone, and the
// latest of those.
func (r *report) present(name string) (best row, ok bool) {
	for _, w := range r.rows {
		if w.Name != name {
			continue
		}
		gone, bestGone := w.State == membership.Gone, best.State == membership.Gone
		if !ok || bestGone && !gone || bestGone == gone && w.since.After(best.since) {
			best, ok = w, true
		}
	}
	return best, ok
}

func useOfSelf(self row, others []row) Use {
	switch {
	case self.State == membership.Gone:
		return 0
	case self.Draining:
		return Spare
	case !self.Ready:
		return 0
	}
	use := Full
	for _, o := range others {
		switch {
		case o.ID != self.ID: // they don't know this incarnation yet, or an older one
		case o.State == membership.Gone || o.Draining:
			use = min(use, Spare)
		case o.State == membership.Suspect:
			use = min(use, Keep)
		}
	}
	return use
}

func useOfOther(r row) Use {
	switch {
	case r.State == membership.Gone || r.State == 0:
		return 0
	case r.Draining || r.State == membership.Suspect:
		return Spare
	case !r.Ready:
		return 0
	}
	return Full
}

// doubtful are the reports of members that others have come to suspect, or
// have given up, since they were last heard: those may be frozen, and are to be
// asked anew before they are believed for longer.
func doubtful(reports []*report) (list []*report) {
	for _, r := range reports {
		for _, o := range reports {
			for _, w := range o.rows {
				if o != r && !r.doubted && w.ChannelAddress == r.addr && w.State != membership.Alive && r.says(w.ID) &&
					r.heard.Before(w.since) {
					r.doubted = true
					list = append(list, r)
				}
			}
		}
	}
	return list
}

// says tells whether this incarnation is in the list.
func (r *report) says(id membership.ID) bool {
	return slices.ContainsFunc(r.rows, func(w row) bool { return w.ID == id })
}

// addresses are the channel addresses of members that somebody reports and
// doesn't hold for gone.
func addresses(reports []*report) (list []string) {
	for _, r := range reports {
		for _, w := range r.rows {
			if w.State != membership.Gone && w.ChannelAddress != "" {
				list = append(list, w.ChannelAddress)
			}
		}
	}
	slices.SortFunc(list, strings.Compare)
	return slices.Compact(list)
}
