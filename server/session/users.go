package session

import (
	"context"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/codec"
)

// maxOfUser is how many of a user's sessions are listed.
const maxOfUser = 1000

// SessionsOf is webapps.Users'.
func (a *App) SessionsOf(principal string) []webapps.UserSession {
	if principal == "" {
		return nil
	}
	page, _ := a.manager.Newest(deltamanager.Query{Wanted: deltamanager.Wanted{Principal: principal}, Limit: maxOfUser})
	var list []webapps.UserSession
	for _, b := range page {
		if b.Partial {
			continue // it is still on its way to this node
		}
		read := func(name string) []byte {
			c, _ := a.manager.Copy(b.Key)
			for _, r := range c.Registers {
				if r.Name == name {
					return r.Value
				}
			}
			return nil
		}
		list = append(list, webapps.NewUserSession(a.name, b.Key.String(), b.Created, b.LastAccess, codec.Values{}, read))
	}
	return list
}

// EndSession is webapps.Users'.
func (a *App) EndSession(ctx context.Context, principal, id string) (bool, error) {
	k, err := deltamanager.ParseKey(id)
	if err != nil || principal == "" {
		return false, nil //nolint:nilerr // no session is called so
	}
	n, err := a.manager.Expire(ctx, deltamanager.Wanted{Principal: principal, Prefix: k.String()})
	return n > 0, public(err)
}
