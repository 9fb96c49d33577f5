package cart

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/nodeserver/nodeserver/webapps"
)

// refusal says what is wrong with a request.
type refusal struct {
	status int
	text   string
}

func (r refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Sprintf(format, args...)}
}

// add puts n more of an item into the cart, or takes some out.
func add(r *http.Request) error {
	n, err := number(r, "n", 1, -maxQuantity)
	if err != nil {
		return err
	}
	return setQuantity(r, r.FormValue("sku"), func(old int) int { return max(old+n, 0) })
}

func remove(r *http.Request) error {
	return setQuantity(r, r.FormValue("sku"), func(int) int { return 0 })
}

// put sets an item's quantity, and does no harm when repeated.
func put(r *http.Request) error {
	n, err := number(r, "quantity", -1, 0)
	if err != nil {
		return err
	}
	return setQuantity(r, r.PathValue("sku"), func(int) int { return n })
}

// setQuantity changes one item. Input is checked before there is a session, so
// that nonsense makes none; Update keeps two tabs that add at once from
// counting as one.
func setQuantity(r *http.Request, sku string, change func(old int) int) error {
	if _, ok := find(sku); !ok {
		return refuse(http.StatusNotFound, "no item %q is sold here", sku)
	}
	s := webapps.SessionOf(r)
	var n int
	err := s.Update(attribute(sku), &n, func() error {
		if n = change(n); n > maxQuantity {
			return refuse(http.StatusBadRequest, "%d of %s are too many: at most %d", n, sku, maxQuantity)
		}
		return nil
	})
	if err == nil && n == 0 {
		s.Remove(attribute(sku))
	}
	return err
}

// number is a form's field; without it, or out of bounds, it is wrong, unless
// there is a default within bounds.
func number(r *http.Request, field string, otherwise, least int) (int, error) {
	n, text := otherwise, r.FormValue(field)
	var err error
	if text != "" {
		n, err = strconv.Atoi(text)
	}
	if err != nil || n < least || n > maxQuantity {
		return 0, refuse(http.StatusBadRequest, "%s is %q: give a number from %d to %d", field, text, least, maxQuantity)
	}
	return n, nil
}

var userName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$`)

// login believes anybody. What matters is what SetPrincipal does: the user gets
// a new id, so that one planted or seen before is worth nothing.
func login(r *http.Request) error {
	name := r.FormValue("user")
	if !userName.MatchString(name) {
		return refuse(http.StatusBadRequest, "user is %q: give 1 to 32 of A-Z a-z 0-9 . _ -, a letter or digit first", name)
	}
	return webapps.SessionOf(r).SetPrincipal(name)
}

func logout(r *http.Request) error {
	if s, ok := webapps.ExistingSession(r); ok {
		s.Invalidate()
	}
	return nil
}
