package session

import (
	"net/http"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// Asks tells whether the request comes with an id of a session, whether or not there is one.
func (a *App) Asks(r *http.Request) bool {
	return a.visitOf(r).eachHash(func(deltamanager.CookieHash) bool { return true })
}

// Holds tells whether the request's session is one of the app's, as far as this node knows.
func (a *App) Holds(r *http.Request) bool { return a.visitOf(r).eachHash(a.manager.Knows) }

// Finds tells whether it is one, and asks the members for it if the user has seen what this node
// does not have. That takes time: to be called if no version of the app Holds it.
func (a *App) Finds(r *http.Request) bool {
	v := a.visitOf(r)
	eachCookie(r.Header, v.addToken)
	return v.eachHash(func(h deltamanager.CookieHash) bool {
		_, ok := a.manager.OpenCaughtUp(r.Context(), h, v.tokens, v)
		return ok
	})
}

func (a *App) visitOf(r *http.Request) *visit {
	return &visit{app: a, ctx: r.Context(), header: r.Header}
}

// eachHash tells whether it is so of the hash of one of the request's session cookies, of which maxIDs
// are looked at.
func (v *visit) eachHash(is func(deltamanager.CookieHash) bool) (found bool) {
	wanted, tried := v.cookies().name, 0
	eachCookie(v.header, func(name, value string) {
		if found || name != wanted || tried == maxIDs {
			return
		}
		tried++
		if id, _, ok := splitID(value); ok {
			found = is(cookieHash(id))
		}
	})
	return found
}
