package session

import (
	"errors"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
)

// publicError is an error of a delta manager that is one of package webapps', too.
type publicError struct {
	error
	is error
}

// Unwrap is for errors.Is.
func (e publicError) Unwrap() []error { return []error{e.error, e.is} }

// public lets authors, who import package webapps only, tell errors apart. An error that
// says no more than one of theirs becomes that one.
func public(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range [...]struct{ here, there error }{
		{deltamanager.ErrGone, webapps.ErrGone},
		{deltamanager.ErrMoved, webapps.ErrIDChanged},
		{deltamanager.ErrTooLarge, webapps.ErrTooLarge},
		{deltamanager.ErrFull, webapps.ErrTooManySessions},
		{deltamanager.ErrNotReady, webapps.ErrNotReady},
		{deltamanager.ErrUnacked, webapps.ErrUnacknowledged},
	} {
		switch {
		case err == e.here: //nolint:errorlint // only the very one says no more
			return e.there
		case errors.Is(err, e.here):
			return publicError{err, e.there}
		}
	}
	if _, ok := errors.AsType[hastyError](err); ok {
		return publicError{err, webapps.ErrTooManySessions}
	}
	return err
}
