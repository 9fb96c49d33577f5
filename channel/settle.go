package channel

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nodeserver/nodeserver/membership"
)

// finder is a provider as the settling sees it.
type finder struct {
	name  string
	stats membership.Stats
}

// settle sees whether discovery has had its first chance. It is called several times a second until
// it was settled or the channel stopped.
func (t *dialing) settle(now time.Time, members []membership.Status, finders []finder) (s dialStep) {
	if t.settled || t.finding(now, finders) {
		return s
	}
	if s.stop = t.strayed(); s.stop != nil {
		return s
	}
	took := now.Sub(t.begun)
	switch why, firm := t.lacks(members, finders); {
	case why == "":
	case took < t.cfg.Patience || firm && t.cfg.Insist:
		if took > unprovenTime {
			s.lines = append(s.lines, warn("not ready yet", "event", "waiting", "why", why).seldom("settle"))
		}
		return s
	case t.cfg.Patience > 0:
		s.lines = append(s.lines, warn("the node starts all the same", "why", why, "dur", t.cfg.Patience))
	}
	t.joined = true // no member is there that could say that the name is taken
	t.settled, s.settled = true, true
	return s
}

// finding tells whether members may still be found within a moment: providers and dials take their
// time. A member that was found has announced all others. The node waits a short time only for
// unproven addresses, however many come.
func (t *dialing) finding(now time.Time, finders []finder) bool {
	took := now.Sub(t.begun)
	if !t.joined {
		if took < settleAfter {
			return true
		}
		for _, f := range finders {
			if f.stats.Queries == 0 {
				return true
			}
		}
	}
	for _, d := range t.rows {
		waits := d.rank != unproven || !t.joined && took < unprovenTime
		if !d.tried && waits || !d.taken.IsZero() && !t.joined {
			return true
		}
	}
	return false
}

// lacks says what speaks against a start with the members that are here; firm means that nothing
// but the missing thing itself can prove it wrong. A node that has found nobody must know that
// nobody is there, as it does when machines answer that nothing listens: a node that is merely cut
// off from the others would start with an empty memory.
func (t *dialing) lacks(members []membership.Status, finders []finder) (why string, firm bool) {
	if here := t.here(members); here < t.cfg.Expect {
		return fmt.Sprintf("%d members are expected (membership.expect), %d are here", t.cfg.Expect, here), true
	}
	if t.joined {
		return "", false
	}
	for _, f := range finders {
		// Where multicast does not work, the operator's own list is enough.
		counts := f.name != "mdns" || len(finders) == 1
		if p := f.stats; p.Problem != "" && counts && (why == "" || !p.Empty) {
			why, firm = fmt.Sprintf("the provider %s can't find members: %s", f.name, p.Problem), firm || !p.Empty
		}
	}
	for _, addr := range slices.Sorted(maps.Keys(t.rows)) {
		if d := t.rows[addr]; why == "" && d.rank == listed && !d.self && !d.absent {
			why = "no member was found, and " + addr + " does not answer"
		}
	}
	return why, firm
}

// waiting says why the node has not settled, for people; it is empty if it has.
func (t *dialing) waiting(members []membership.Status, finders []finder) string {
	if t.settled {
		return ""
	}
	if why, _ := t.lacks(members, finders); why != "" {
		return why
	}
	return "looking for other members"
}

// strayed is the error of a node that was refused at an address which its operator has listed,
// because its secret, cluster name or wire version differs: the node would go on as a cluster of
// its own, unnoticed. An address that was merely found by mdns does not keep a node from starting;
// the log has it.
func (t *dialing) strayed() error {
	if t.joined {
		return nil
	}
	for _, addr := range slices.Sorted(maps.Keys(t.rows)) {
		if d := t.rows[addr]; d.stray != nil && d.rank == listed {
			return &StrayError{Address: addr, Err: d.stray}
		}
	}
	return nil
}
