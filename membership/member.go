package membership

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ID names one incarnation of one member: the time from one start of the node to its end. It is
// comparable; the zero ID is no member's.
type ID struct {
	Name        string
	Incarnation uint64 // number of the incarnation, drawn at random when the node starts, never 0
}

// NewIncarnation draws the number of an incarnation, or of whatever must not be taken for an earlier
// one of its kind. It is never 0.
func NewIncarnation() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) | 1
}

// String is the name with the last four hex digits of the incarnation, for logs.
func (id ID) String() string { return fmt.Sprintf("%s#%04x", id.Name, id.Incarnation&0xffff) }

// Compare orders incarnations by name, and those of one name by their number.
func (id ID) Compare(o ID) int {
	return cmp.Or(cmp.Compare(id.Name, o.Name), cmp.Compare(id.Incarnation, o.Incarnation))
}

// Member is the record of one incarnation of one node. It is a value: a Member that was passed on
// is never changed.
type Member struct {
	ID
	ChannelAddress string   // host:port, as other members dial it
	HTTPAddress    string   // host:port, as the balancer dials it
	HTTPS          bool     // it speaks TLS there
	Apps           []string // webapps hosted, sorted
	Domain         string   // replication domain, empty unless configured
	Version        string   // of the nodeserver binary

	// Paths has, by name of a webapp, hosted or not, the path at which the node serves it, unless
	// that is DefaultPath. Nil: there is none such. Never written to.
	Paths map[string]string
}

// Path is where the member serves the webapp, if it hosts it: it begins and ends with a slash.
func (m Member) Path(app string) string {
	conf, _, _ := strings.Cut(app, "##")
	if path, ok := m.Paths[conf]; ok {
		return path
	}
	return DefaultPath(app)
}

// DefaultPath is where a webapp is served that no conf gives another path. Versions of one webapp,
// like shop##2, share a path.
func DefaultPath(app string) string {
	if app, _, _ = strings.Cut(app, "##"); app != "root" {
		return "/" + app + "/"
	}
	return "/"
}

// Hosts tells whether the member hosts the webapp.
func (m Member) Hosts(app string) bool {
	return slices.Contains(m.Apps, app)
}

// State is what a node believes about a member.
type State int

// States of a member.
const (
	Alive   State = iota + 1 // a message came within suspect_after
	Suspect                  // silent or disconnected; being probed
	Gone                     // left, or failed its probes
)

// String is the state in lower case.
func (s State) String() string {
	switch s {
	case Alive:
		return "alive"
	case Suspect:
		return "suspect"
	case Gone:
		return "gone"
	}
	return "unknown"
}

// Status is one row of a member list.
type Status struct {
	Member
	State    State
	Ready    bool // serves requests: its first state transfer is done
	Draining bool // about to leave: the balancer sends it no new sessions
	Left     bool // gone in order: it has said so
	Ended    bool // gone for certain: it left, nothing listens at its address, or another incarnation does
}

// Present finds the incarnation in a member list; false: it is not there, or gone.
func Present(list []Status, id ID) (Status, bool) {
	i := slices.IndexFunc(list, func(s Status) bool { return s.ID == id && s.State != Gone })
	if i < 0 {
		return Status{}, false
	}
	return list[i], true
}

var name = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// CheckName returns an error if a member can't have the name. A name is also the route in session
// cookies, so it has no dot.
func CheckName(s string) error {
	if !name.MatchString(s) {
		return fmt.Errorf("%q is not a member name: use 1 to 32 of A-Z a-z 0-9 _ -", s)
	}
	return nil
}

// Candidate is an address where a provider expects a member. It proves nothing: only a hello over
// the channel makes a member.
type Candidate struct {
	Address  string // host:port of a channel
	Unproven bool   // anybody on the network can have announced it, so no node waits for it
}

// Provider proposes addresses of members. Run calls found until ctx ends, from any goroutine, and
// also repeatedly for the same address; found never blocks. Run returns nil when ctx ended, or the
// error for which it can't go on. Stats is safe for concurrent use; the addresses of a round are
// proposed before the round is counted.
type Provider interface {
	Name() string
	Run(ctx context.Context, found func(Candidate)) error
	Stats() Stats
}
