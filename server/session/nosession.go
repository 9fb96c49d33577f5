package session

import (
	"context"
	"errors"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
)

// noSession is what a request gets that can have no session: it holds nothing,
// and what is written to it is an error that says why. A panic would do for a handler,
// but end the node if it came in a goroutine of the handler's.
type noSession struct{ why error }

var _ webapps.Session = noSession{}

func (noSession) ID() string                   { return "" }
func (noSession) IsNew() bool                  { return true }
func (noSession) Created() time.Time           { return time.Time{} }
func (noSession) LastAccess() time.Time        { return time.Time{} }
func (noSession) MaxInactive() time.Duration   { return 0 }
func (noSession) SetMaxInactive(time.Duration) {}
func (noSession) Names() []string              { return nil }
func (noSession) Remove(string)                {}
func (noSession) Invalidate()                  {}
func (noSession) Acks(string)                  {}
func (noSession) Principal() string            { return "" }
func (noSession) SetPrincipal(string)          {}

func (s noSession) Get(string, any) (bool, error)          { return false, s.why }
func (s noSession) Set(string, any) error                  { return s.why }
func (s noSession) Update(string, any, func() error) error { return s.why }
func (s noSession) ChangeID() error                        { return s.why }
func (s noSession) Commit(context.Context) error           { return s.why }

// publicError is an error of a delta manager that is one of package webapps', too.
type publicError struct {
	error
	is error
}

// Unwrap is for errors.Is.
func (e publicError) Unwrap() []error { return []error{e.error, e.is} }

// public lets authors, who import package webapps only, tell errors apart.
func public(err error) error {
	for _, e := range [...]struct{ here, there error }{
		{deltamanager.ErrGone, webapps.ErrGone},
		{deltamanager.ErrMoved, webapps.ErrIDChanged},
		{deltamanager.ErrTooLarge, webapps.ErrTooLarge},
		{deltamanager.ErrFull, webapps.ErrTooManySessions},
		{deltamanager.ErrNotReady, webapps.ErrNotReady},
		{deltamanager.ErrUnacked, webapps.ErrUnacknowledged},
	} {
		if errors.Is(err, e.here) {
			return publicError{err, e.there}
		}
	}
	if _, ok := errors.AsType[hastyError](err); ok {
		return publicError{err, webapps.ErrTooManySessions}
	}
	return err
}
