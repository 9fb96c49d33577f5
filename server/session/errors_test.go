package session

import (
	"errors"
	"fmt"
	"testing"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/webapps"
)

// An error of a delta manager becomes one of package webapps, too, and says the same.
func TestErrorsBecomePublic(t *testing.T) {
	for here, there := range map[error]error{
		deltamanager.ErrGone: webapps.ErrGone, deltamanager.ErrTooLarge: webapps.ErrTooLarge, deltamanager.ErrFull: webapps.ErrTooManySessions,
		deltamanager.ErrNotReady: webapps.ErrNotReady, deltamanager.ErrUnacked: webapps.ErrUnacknowledged,
	} {
		err := fmt.Errorf("tried: %w", here)
		if got := public(err); got.Error() != err.Error() || !errors.Is(got, there) || !errors.Is(got, here) {
			t.Errorf("%v became %v", err, got)
		}
	}
	if err := errors.New("other"); fmt.Sprintf("%T", public(err)) != fmt.Sprintf("%T", err) {
		t.Error("an error of no kind has become one")
	}
}
