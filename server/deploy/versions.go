package deploy

import (
	"cmp"
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/config"
)

// unusedTime is for how long a version that is not the newest has no session before it goes.
const unusedTime = time.Minute

// sameApp tells whether the names are of versions of one app.
func sameApp(a, b string) bool {
	a, _ = config.SplitPlace(a)
	b, _ = config.SplitPlace(b)
	return a == b
}

// newer orders versions: none is the oldest, numbers come before words.
func newer(a, b string) int {
	n, errN := strconv.ParseUint(a, 10, 64)
	m, errM := strconv.ParseUint(b, 10, 64)
	switch {
	case errN == nil && errM == nil:
		return cmp.Or(cmp.Compare(n, m), cmp.Compare(a, b))
	case a == "" || b == "" || errN != nil && errM != nil:
		return cmp.Compare(a, b)
	case errN == nil:
		return -1
	}
	return 1
}

// VersionOf is the version that the file of a plugin is of, by its name; empty: of none.
func VersionOf(file string) string {
	_, version := config.SplitPlace(strings.TrimSuffix(filepath.Base(file), ".so"))
	return version
}

// versions are the places that share a path, the newest first.
type versions []*Place

// byPath are what serves at each path: a place, or versions.
func byPath(up []*Place) map[string]http.Handler {
	groups := map[string]versions{}
	for _, p := range up {
		groups[p.path] = append(groups[p.path], p)
	}
	handlers := map[string]http.Handler{}
	for path, v := range groups {
		if len(v) == 1 {
			handlers[path] = v[0]
			continue
		}
		slices.SortFunc(v, func(a, b *Place) int { return -newer(a.version(), b.version()) })
		handlers[path] = v
	}
	return handlers
}

func (p *Place) version() string {
	_, version := config.SplitPlace(p.name)
	return version
}

// ServeHTTP leads a request to the version that has its session.
func (v versions) ServeHTTP(w http.ResponseWriter, r *http.Request) { v.of(r).ServeHTTP(w, r) }

// of is the version for a request: the one that has its session, here or, where the user carries
// the proof that there is one, at another member; else the newest that serves. Where the session
// is unknown while a version still gets its sessions, that one answers, which sends the request to
// another node: to begin a new session would lose the one that there may be.
func (v versions) of(r *http.Request) *Place {
	newest := v[0]
	if i := slices.IndexFunc(v, func(p *Place) bool { return p.State() == Serving }); i >= 0 {
		newest = v[i]
	}
	if !newest.sessions.Asks(r) {
		return newest
	}
	for _, p := range v {
		if p.sessions.Holds(r) {
			return p
		}
	}
	for _, p := range v {
		if p.State() == Joining || !p.Manager().Ready() || p.sessions.Finds(r) {
			return p
		}
	}
	return newest
}

// unused are the versions that are not the newest of those that serve, and had no session for
// unusedTime. To be called about every second, by one goroutine.
func (t *Table) unused(catalog bool) (list []*Place) {
	for _, h := range byPath(t.now.Load().up) {
		v, _ := h.(versions)
		serving := slices.IndexFunc(v, func(p *Place) bool { return p.State() == Serving })
		for i, p := range v {
			if p.Hash() != "" != catalog {
				continue
			}
			if serving < 0 || i <= serving || p.State() != Serving || p.Manager().Stats().Sessions > 0 {
				p.emptied.Store(0)
				continue
			}
			now := time.Now().UnixNano()
			p.emptied.CompareAndSwap(0, now)
			if now-p.emptied.Load() >= int64(unusedTime) {
				list = append(list, p)
			}
		}
	}
	return list
}

// unusedWhy is why a version goes.
const unusedWhy = "a newer version serves, and no session is left of this one"

// retireVersions undeploys versions of this node's own that are of no use any more, until ctx ends.
func (t *Table) retireVersions(ctx context.Context) {
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		for _, p := range t.unused(false) {
			t.Undeploy(p, unusedWhy)
		}
	}
}

// retireVersions undeploys versions of the catalog that are of no use any more, from all members. The
// first member that is there does so.
func (f *Farm) retireVersions(ctx context.Context) {
	list := f.table.unused(true)
	if len(list) == 0 {
		return
	}
	self, members := f.channel.Self(), f.channel.Members() // by name
	first := slices.IndexFunc(members, func(m membership.Status) bool { return m.State == membership.Alive || m.ID == self })
	if first >= 0 && members[first].ID != self {
		return
	}
	for _, p := range list {
		p.emptied.Store(0) // not again at once if a member is missing now
		go func() {
			q := Request{Operator: "nobody: " + unusedWhy, Step: func(_, _ string) {}}
			if _, err := f.Undeploy(ctx, p.name, q); err != nil {
				p.log.Warn("a version that has no sessions could not be undeployed; it is tried again", "err", err)
			}
		}()
	}
}
