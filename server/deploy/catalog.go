package deploy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// Entry is what the catalog says of one app: which build of it the cluster hosts, or that it hosts
// none. Of two entries the later one counts, as of a register of a session.
type Entry struct {
	App     string    `json:"app"`
	Build   Build     `json:"build"`             // none: the app was undeployed, or the catalog only stops it
	Stopped bool      `json:"stopped,omitempty"` // users are not served, wherever the app comes from
	By      string    `json:"by"`                // the operator, as far as it is known
	At      time.Time `json:"at"`                // of the wall clock of the node that wrote it
	Clock   uint64    `json:"clock"`             // later than those of all entries that its writer knew
	Writer  string    `json:"writer"`
	History []Build   `json:"history,omitempty"` // builds before, the latest first
}

// Build is one build of an app.
type Build struct {
	Hash     string `json:"hash"` // SHA-256 of the plugin's file, hex
	Version  string `json:"version"`
	Revision string `json:"revision"` // hash of its sources
}

// later orders entries of one app.
func (e Entry) later(o Entry) bool {
	return cmp.Or(cmp.Compare(e.Clock, o.Clock), cmp.Compare(e.Writer, o.Writer)) > 0
}

// catalog is what the cluster hosts: a map that merges by the later entry, so that members who hear
// of the same entries, in whatever order, hold the same. Each member keeps it in a file, and tells
// the others the whole of it when they meet and when it changes.
type catalog struct {
	file    string
	self    string // the node's name
	log     *slog.Logger
	changed chan struct{} // gets a token when something was written or heard

	mu      sync.Mutex
	entries map[string]Entry
	members map[membership.ID]*listener
	topic   *channel.Topic
}

// listener is what is known of one member's copy.
type listener struct {
	due   bool // it is to be announced
	heard bool // it has announced its own
}

func openCatalog(file, self string, log *slog.Logger) (*catalog, error) {
	c := &catalog{
		file: file, self: self, log: log, changed: make(chan struct{}, 1),
		entries: map[string]Entry{}, members: map[membership.ID]*listener{},
	}
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	var list []Entry
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		return nil, fmt.Errorf("read the catalog of webapps %s: %w: remove it if the other nodes have theirs", file, err)
	}
	for _, e := range list {
		c.entries[e.App] = e
	}
	return c, nil
}

// list are all entries, by app.
func (c *catalog) list() []Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sorted()
}

func (c *catalog) sorted() []Entry {
	var list []Entry
	for _, app := range slices.Sorted(maps.Keys(c.entries)) {
		list = append(list, c.entries[app])
	}
	return list
}

func (c *catalog) entry(app string) (Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[app]
	return e, ok
}

// write makes an entry that is later than all that this node knows. After an error nothing was
// written.
func (c *catalog) write(app string, b Build, stopped bool, by string, keep int) (Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := Entry{App: app, Build: b, Stopped: stopped, By: by, At: time.Now(), Writer: c.self, Clock: uint64(time.Now().UnixMilli())}
	for _, o := range c.entries {
		e.Clock = max(e.Clock, o.Clock+1)
	}
	was := c.entries[app]
	for _, o := range append([]Build{was.Build}, was.History...) {
		if o.Hash != "" && o.Hash != b.Hash && len(e.History) < keep-1 {
			e.History = append(e.History, o)
		}
	}
	return e, c.put([]Entry{e}, membership.ID{})
}

// put takes entries over and tells the members other than the one that they are from. Called with
// c.mu held.
func (c *catalog) put(list []Entry, from membership.ID) error {
	before := maps.Clone(c.entries)
	for _, e := range list {
		if o, ok := c.entries[e.App]; !ok || e.later(o) {
			c.entries[e.App] = e
		}
	}
	b, err := json.MarshalIndent(c.sorted(), "", "\t")
	if err == nil {
		err = replaceFile(
			filepath.Dir(c.file),
			func(w io.Writer) error { _, err := w.Write(b); return err },
			func() string { return c.file },
		)
	}
	if err != nil {
		c.entries = before
		return fmt.Errorf("save the catalog of webapps: %w", err)
	}
	for id, m := range c.members {
		if id != from {
			m.due = true
			c.topic.Wake(id, channel.Live, true)
		}
	}
	c.ring()
	return nil
}

func (c *catalog) ring() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// merge takes over what is later of another member's entries. After an error nothing is taken over.
func (c *catalog) merge(list []Entry, from membership.ID) error {
	for _, e := range list {
		if !config.PlaceName(e.App) || e.Build.Hash != "" && !aHash.MatchString(e.Build.Hash) {
			return fmt.Errorf("an entry of the app %.64q with the hash %.64q", e.App, e.Build.Hash)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.ContainsFunc(list, func(e Entry) bool { o, ok := c.entries[e.App]; return !ok || e.later(o) }) {
		return nil
	}
	return c.put(list, from)
}

// caughtUp tells whether all members that are linked have announced their catalogs.
func (c *catalog) caughtUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.members {
		if !m.heard {
			return false
		}
	}
	return true
}

// join makes the catalog one with those of the other members.
func (c *catalog) join(ch *channel.Channel) {
	t := ch.Topic("catalog", ch.Self().Incarnation, c, nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.topic = t
}

// Connected implements channel.Handler, as do the methods below.
func (c *catalog) Connected(m membership.Member) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[m.ID] = &listener{due: true}
}

// Disconnected forgets the member until it is back: the whole catalog is announced to it then.
func (c *catalog) Disconnected(id membership.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.members, id)
	c.ring()
}

// Gone has nothing to add.
func (c *catalog) Gone(membership.ID) {}

// Pull is the whole catalog, for a member that lacks something of it.
func (c *catalog) Pull(to membership.ID, class channel.Class) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.members[to]
	if class != channel.Live || m == nil || !m.due {
		return nil
	}
	m.due = false
	b, err := json.Marshal(c.sorted())
	if err != nil {
		return nil // times and texts: can't be
	}
	return b
}

// Receive merges a member's catalog.
func (c *catalog) Receive(from membership.ID, _ channel.Class, payload []byte) {
	var list []Entry
	err := json.Unmarshal(payload, &list)
	if err == nil {
		err = c.merge(list, from)
	}
	if err != nil {
		c.log.Error("catalog of webapps of another member not taken over", "member", from.Name, "err", err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.members[from]; m != nil {
		m.heard = true
	}
	c.ring()
}
