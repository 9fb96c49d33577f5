package webappstest

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// SessionsOf implements webapps.Users.
func (n *node) SessionsOf(principal string) []webapps.UserSession {
	var list []webapps.UserSession
	for _, st := range n.of(principal) {
		st.mu.Lock()
		list = append(list, webapps.NewUserSession(n.app.Name, st.id, st.created, st.lastAccess, codec.Values{}, st.read))
		st.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b webapps.UserSession) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// of are a user's sessions.
func (n *node) of(principal string) (list []*state) {
	n.mu.Lock()
	all := make([]*state, 0, len(n.sessions))
	for _, st := range n.sessions {
		all = append(all, st)
	}
	n.mu.Unlock()
	for _, st := range all {
		if st.expired() {
			continue
		}
		st.mu.Lock()
		if principal != "" && st.principal == principal && !st.dead {
			list = append(list, st)
		}
		st.mu.Unlock()
	}
	return list
}

// read is a committed attribute.
func (st *state) read(name string) []byte {
	st.mu.Lock()
	defer st.mu.Unlock()
	return bytes.Clone(st.values[name])
}

// EndSession implements webapps.Users.
func (n *node) EndSession(_ context.Context, principal, id string) (bool, error) {
	for _, st := range n.of(principal) {
		if st.id == id {
			return n.end(st, webapps.Invalidated), nil
		}
	}
	return false, nil
}
