package webappstest_test

import (
	"errors"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
	"github.com/nodeserver/nodeserver/webapps/webappstest"
)

// app serves one handler.
func app(h http.HandlerFunc) webapps.App {
	return webapps.App{Name: "a", New: func(webapps.Context) (http.Handler, error) { return h, nil }}
}

// within runs f on a fresh session inside a request.
func within(t *testing.T, f func(*webapps.Session)) *webappstest.Client {
	t.Helper()
	c := webappstest.New(t, app(func(_ http.ResponseWriter, r *http.Request) { f(webapps.SessionOf(r)) }))
	if got := c.Get("/"); got.Status != 200 {
		t.Fatalf("status %d: %s", got.Status, got.Body)
	}
	return c
}

type colour string

type item struct {
	Name string
	Tags []string
}

func TestValuesComeBack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for _, v := range []any{
		true, int(-1), int8(-8), int64(math.MinInt64), uint8(8), uint64(math.MaxUint64), float32(1.5),
		math.Inf(1), "text", "", colour("red"),
		[]byte{0, 255},
		[]byte{},
		at, 3 * time.Second,
		item{"a", []string{"b"}},
		map[string]int{"a": 1},
		[]item{{Name: "x"}},
	} {
		within(t, func(s *webapps.Session) {
			if err := s.Set("v", v); err != nil {
				t.Errorf("set %#v: %v", v, err)
			}
			into := reflect.New(reflect.TypeOf(v))
			if found, err := s.Get("v", into.Interface()); !found || err != nil || !reflect.DeepEqual(into.Elem().Interface(), v) {
				t.Errorf("%#v came back as %#v, %v, %v", v, into.Elem(), found, err)
			}
		})
	}
}

func TestValuesThatDoNotFit(t *testing.T) {
	for _, c := range []struct {
		stored, into any
		want         string
	}{
		{1, new(string), `app a: read attribute "v": the stored integer doesn't fit a string`},
		{300, new(int8), `app a: read attribute "v": the stored integer doesn't fit a int8`},
		{-1, new(uint), `app a: read attribute "v": the stored integer doesn't fit a uint`},
		{uint64(math.MaxUint64), new(int), `app a: read attribute "v": the stored unsigned integer doesn't fit a int`},
		{"1", new(int), `app a: read attribute "v": the stored string doesn't fit a int`},
		{1, 1, `app a: read attribute "v": want a pointer to read into, not a int`},
		{1, nil, `app a: read attribute "v": want a pointer to read into, not a <nil>`},
	} {
		within(t, func(s *webapps.Session) {
			if err := s.Set("v", c.stored); err != nil {
				t.Fatal(err)
			}
			if found, err := s.Get("v", c.into); !found || err == nil || err.Error() != c.want {
				t.Errorf("%#v into %T: %v, %v; want %s", c.stored, c.into, found, err, c.want)
			}
		})
	}
}

func TestRefusedWritesChangeNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"", 1, "app a: set attribute \"\": attribute name of 0 bytes: want 1 to 256"},
		{strings.Repeat("n", 257), 1, "attribute name of 257 bytes: want 1 to 256"},
		{"v", nil, "nil can't be stored: use Remove"},
		{"v", func() {}, "a func() can't be stored"},
		{"v", struct{ hidden int }{1}, "has no exported field, so nothing of it would be stored"},
		{"v", struct{ Err error }{io.EOF}, "field Err: it holds a error, whose type nobody would know when it is read"},
		{"v", make([]byte, 1<<20), "the session is too large (limits: sessions.max_session_bytes, 1024 attributes)"},
	} {
		within(t, func(s *webapps.Session) {
			if err := s.Set("v", "old"); err != nil {
				t.Fatal(err)
			}
			if err := s.Set(c.name, c.value); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("set %.5q: %v, want %s", c.name, err, c.want)
			}
			if v, _, _ := webapps.Get[string](s, "v"); v != "old" || len(s.Names()) != 1 {
				t.Errorf("set %.5q changed the session: %q %v", c.name, v, s.Names())
			}
		})
	}
}

// What a node stores, the test kit stores, and both give back the same.
func TestValuesAreThoseOfANode(t *testing.T) {
	for _, v := range []any{
		struct{ F float64 }{math.Inf(1)}, map[float64]int{0.5: 1}, map[any]any{"a": int64(1)}, []any{int64(5), "x"},
	} {
		within(t, func(s *webapps.Session) {
			if err := s.Set("v", v); err != nil {
				t.Fatalf("set %#v: %v", v, err)
			}
			got := reflect.New(reflect.TypeOf(v))
			if _, err := s.Get("v", got.Interface()); err != nil || !reflect.DeepEqual(got.Elem().Interface(), v) {
				t.Errorf("%#v came back as %#v, %v", v, got.Elem(), err)
			}
		})
	}
}

func TestValuesAreCopies(t *testing.T) {
	within(t, func(s *webapps.Session) {
		tags := []string{"a"}
		blob := []byte{1}
		_ = s.Set("item", item{Tags: tags})
		_ = s.Set("blob", blob)
		tags[0], blob[0] = "changed", 2
		i, _, _ := webapps.Get[item](s, "item")
		b, _, _ := webapps.Get[[]byte](s, "blob")
		if i.Tags[0] != "a" || b[0] != 1 {
			t.Errorf("what Set stored is shared: %v %v", i, b)
		}
		b[0] = 3
		if b, _, _ := webapps.Get[[]byte](s, "blob"); b[0] != 1 {
			t.Errorf("what Get filled is shared: %v", b)
		}
	})
}

func TestPanicDiscardsWrites(t *testing.T) {
	n := 0
	c := webappstest.New(t, app(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		n++
		if err := s.Update("n", new(int), func() error { return nil }); err != nil {
			t.Error(err)
		}
		_ = s.Set("n", n)
		if n == 2 {
			panic("second request")
		}
	}))
	c.Get("/")
	if got := c.Get("/"); got.Status != 500 {
		t.Errorf("status %d after a panic", got.Status)
	}
	if got, _, _ := webapps.Get[int](c.Session(), "n"); got != 1 {
		t.Errorf("n is %d, want what the first request left", got)
	}
	if got := c.Get("/"); got.Status != 200 {
		t.Errorf("the request after a panic: %d", got.Status)
	}
}

func TestInvalidateAndStartAnew(t *testing.T) {
	c := webappstest.New(t, app(func(_ http.ResponseWriter, r *http.Request) {
		old := webapps.SessionOf(r)
		_ = old.Set("v", 1)
		old.Invalidate()
		if err := old.Set("v", 2); err == nil || len(old.Names()) != 0 {
			t.Errorf("an invalidated session takes writes: %v %v", err, old.Names())
		}
		if _, ok := webapps.ExistingSession(r); ok {
			t.Error("the invalidated session still exists")
		}
		if s := webapps.SessionOf(r); s.ID() == old.ID() || !s.IsNew() {
			t.Error("no new session after Invalidate")
		}
	}))
	c.Get("/")
	if s := c.Session(); s == nil || s.IsNew() {
		t.Errorf("the second session isn't the user's: %v", s)
	}
}

func TestUpdateErrorStoresNothing(t *testing.T) {
	stop := errors.New("stop")
	within(t, func(s *webapps.Session) {
		n := 5
		err := s.Update("n", &n, func() error {
			if n != 0 {
				t.Errorf("n is %d where there is none, want its zero value", n)
			}
			n = 1
			return stop
		})
		if !errors.Is(err, stop) || len(s.Names()) != 0 {
			t.Errorf("%v %v", err, s.Names())
		}
	})
}

func TestPrincipalAndTimes(t *testing.T) {
	c := within(t, func(s *webapps.Session) {
		s.SetPrincipal("ann")
		s.SetMaxInactive(time.Minute)
		if s.Principal() != "ann" || s.MaxInactive() != time.Minute || !s.IsNew() {
			t.Errorf("%q %v %v", s.Principal(), s.MaxInactive(), s.IsNew())
		}
	})
	if s := c.Session(); s.Principal() != "ann" || s.MaxInactive() != time.Minute || s.IsNew() {
		t.Errorf("after the commit: %q %v %v", s.Principal(), s.MaxInactive(), s.IsNew())
	}
}
