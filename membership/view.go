package membership

import (
	"slices"
	"time"
)

// Timing has the time limits of a View.
type Timing struct {
	SuspectAfter time.Duration // silence after which a member is suspected and probed
	DownAfter    time.Duration // from the last sign of life to gone, at most
}

// keepGone is how long a member that is gone stays in the list, for operators.
const keepGone = 10 * time.Minute

// failedProbes is how many probes in a row make a suspect gone.
const failedProbes = 2

// Change is one change in the status of a member.
type Change struct {
	Status
	Was State  // 0 for a member that was not known before
	Why string // for the log
}

// Step is the answer of a View to an event: changes to report, and suspects to probe. Each probe
// must end with a call of Probed.
type Step struct {
	Changes []Change
	Probe   []ID
}

// Outcome of a probe.
type Outcome int

// Outcomes of a probe.
const (
	Answered Outcome = iota + 1 // this incarnation answered, directly or to another member
	Failed                      // nobody got an answer in time
	Refused                     // the member's machine answers that nothing listens there
	Replaced                    // another incarnation answered at its address
	Unasked                     // this node could not send a probe: that says nothing about the member
)

// View is what one node knows about the state of the other members. It is pure: it has no clock, no
// goroutine and no I/O; its driver passes the time in and carries out its steps. It is not safe for
// concurrent use.
//
// A member is Alive from the moment its link is up. Silence for SuspectAfter, or at once the loss
// of its link, makes it Suspect: it is probed. It is Gone when the probe is refused, when two
// probes in a row fail, or when DownAfter has passed since its last sign of life. A suspect that
// answers probes stays a suspect until a message comes over its link. The same incarnation may
// return from Gone.
type View struct {
	timing Timing
	rows   map[ID]*row
	last   time.Time // of the latest Tick
}

type row struct {
	Status
	heard   time.Time // over the link
	sign    time.Time // of life of any kind: heard, or a probe answered
	linked  bool
	probing bool
	failed  int       // probes in a row
	next    time.Time // not before this time the next probe
	since   time.Time // of the state
}

// NewView returns a view without members.
func NewView(t Timing) *View { return &View{timing: t, rows: map[ID]*row{}} }

// Connected says that the link to this incarnation of the member is up.
func (v *View) Connected(now time.Time, s Status) Step {
	r := v.rows[s.ID]
	if r == nil {
		r = &row{}
		v.rows[s.ID] = r
	}
	was := r.State
	*r = row{Status: s, heard: now, sign: now, linked: true, probing: r.probing, since: now}
	r.State = was
	return r.turn(now, Alive, "connected")
}

// Heard says that a message came from the member over its link at that time. Times before the
// latest one are ignored.
func (v *View) Heard(at time.Time, id ID) Step {
	r := v.rows[id]
	if r == nil || r.State == Gone || !r.linked || !at.After(r.heard) {
		return Step{}
	}
	r.heard, r.failed = at, 0
	if at.After(r.sign) {
		r.sign = at
	}
	return r.turn(at, Alive, "heard again")
}

// Announced notes what the member announces of itself.
func (v *View) Announced(id ID, ready, draining bool) Step {
	r := v.rows[id]
	if r == nil || r.Ready == ready && r.Draining == draining {
		return Step{}
	}
	r.Ready, r.Draining = ready, draining
	return Step{Changes: []Change{{Status: r.Status, Was: r.State, Why: "announced"}}}
}

// Hosts notes which webapps the member hosts.
func (v *View) Hosts(id ID, apps []string) Step {
	r := v.rows[id]
	if r == nil || slices.Equal(r.Apps, apps) {
		return Step{}
	}
	r.Apps = apps
	return Step{Changes: []Change{{Status: r.Status, Was: r.State, Why: "announced"}}}
}

// Closed says that the member's link broke.
func (v *View) Closed(now time.Time, id ID) Step {
	r := v.rows[id]
	if r == nil || !r.linked {
		return Step{}
	}
	r.linked = false
	if r.State != Alive {
		return Step{}
	}
	return v.suspect(now, r, "its connection closed")
}

// Left says that this incarnation has left in order.
func (v *View) Left(now time.Time, id ID, why string) Step {
	if r := v.rows[id]; r != nil {
		r.Left = true
	}
	return v.Ended(now, id, "left: "+why)
}

// Ended says that this incarnation is over for certain: it left or was superseded.
func (v *View) Ended(now time.Time, id ID, why string) Step {
	r := v.rows[id]
	if r == nil {
		return Step{}
	}
	return r.end(now, why)
}

// Probed reports the outcome of a probe that a Step asked for.
func (v *View) Probed(now time.Time, id ID, o Outcome) Step {
	r := v.rows[id]
	if r == nil {
		return Step{}
	}
	r.probing = false
	if r.State != Suspect {
		return Step{}
	}
	switch o {
	case Answered:
		r.sign, r.failed = now, 0
		r.next = now.Add(v.timing.SuspectAfter / 2)
	case Unasked:
		r.next = now.Add(v.timing.SuspectAfter / 2)
	case Failed:
		if r.failed++; r.failed >= failedProbes {
			return r.turn(now, Gone, "probes got no answer")
		}
		return r.probe()
	case Refused:
		return r.end(now, "nothing listens at its address")
	case Replaced:
		return r.end(now, "another incarnation answers at its address")
	}
	return Step{}
}

// Tick lets time pass. The driver calls it several times per SuspectAfter. A longer gap means that
// this process was paused and could receive nothing, so the gap counts against no member.
func (v *View) Tick(now time.Time) Step {
	if gap := now.Sub(v.last); !v.last.IsZero() && gap > v.timing.SuspectAfter {
		for _, r := range v.rows {
			r.heard, r.sign = earlier(r.heard.Add(gap), now), earlier(r.sign.Add(gap), now)
		}
	}
	v.last = now
	var all Step
	for _, id := range v.ids() {
		r := v.rows[id]
		if r.State == Gone && now.Sub(r.since) >= keepGone {
			delete(v.rows, id)
			continue
		}
		s := v.tick(now, r)
		all.Changes, all.Probe = append(all.Changes, s.Changes...), append(all.Probe, s.Probe...)
	}
	return all
}

func (v *View) tick(now time.Time, r *row) Step {
	switch {
	case r.State == Alive && now.Sub(r.heard) >= v.timing.SuspectAfter:
		return v.suspect(now, r, "silent")
	case r.State == Suspect && now.Sub(r.sign) >= v.timing.DownAfter:
		return r.turn(now, Gone, "no sign of life")
	case r.State == Suspect && !r.probing && !now.Before(r.next):
		return r.probe()
	}
	return Step{}
}

// Forget drops an incarnation that a newer one has replaced.
func (v *View) Forget(id ID) { delete(v.rows, id) }

// State is the state of this incarnation; 0 if it is not known.
func (v *View) State(id ID) State {
	if r := v.rows[id]; r != nil {
		return r.State
	}
	return 0
}

// Members lists all known members, sorted by name. Members that are gone stay in the list for ten
// minutes.
func (v *View) Members() []Status {
	var list []Status
	for _, id := range v.ids() {
		list = append(list, v.rows[id].Status)
	}
	return list
}

// ids are all known incarnations in a fixed order, so that a view's answers depend on nothing but
// its events.
func (v *View) ids() []ID {
	ids := make([]ID, 0, len(v.rows))
	for id := range v.rows {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, ID.Compare)
	return ids
}

func (v *View) suspect(now time.Time, r *row, why string) Step {
	s := r.turn(now, Suspect, why)
	s.Probe = r.probe().Probe
	return s
}

func (r *row) probe() Step {
	if r.probing {
		return Step{}
	}
	r.probing = true
	return Step{Probe: []ID{r.ID}}
}

// end says that the incarnation is over for certain. One that is only silent may be at the other side
// of a split.
func (r *row) end(now time.Time, why string) Step {
	r.Ended = true
	return r.turn(now, Gone, why)
}

func (r *row) turn(now time.Time, to State, why string) Step {
	if r.State == to {
		return Step{}
	}
	was := r.State
	r.State, r.since, r.failed, r.next = to, now, 0, time.Time{}
	r.Ended = r.Ended && to == Gone
	if to == Gone {
		r.linked, r.Ready, r.Draining = false, false, false
	}
	return Step{Changes: []Change{{Status: r.Status, Was: was, Why: why}}}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
