package contract

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/nodeserver/nodeserver/webapps"
)

type (
	colour string
	item   struct {
		Name string
		Tags []string
		At   time.Time
	}
)

func valuesComeBack(h *host) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	values := map[string]any{}
	for i, v := range []any{
		true, false, int(-1), int8(-8), int64(math.MinInt64), uint8(8), uint64(math.MaxUint64), float32(1.5),
		math.Inf(1), math.NaN(), "text", "", colour("red"),
		[]byte{0, 255},
		[]byte{},
		at, 3 * time.Second,
		item{"a", []string{"b"}, at},
		[]item{{Name: "x"}},
		[2]int{1, 2},
		map[string]int{"a": 1},
		map[float64]int{0.5: 1},
		map[any]any{"a": int64(1), int64(2): "b"},
		[]any{int64(5), "x", 1.5, true, []byte{1}, at, []any{int64(1)}},
		struct{ F float64 }{math.NaN()},
		struct{ F any }{int64(5)},
		struct {
			Kept   int
			Hidden io.Reader `json:"-"`
		}{Kept: 1},
		*big.NewInt(7),
	} {
		values["v"+strconv.Itoa(i)] = v
	}
	u := h.newUser()
	compare := func(s *webapps.Session) {
		for name, v := range values {
			into := reflect.New(reflect.TypeOf(v))
			found, err := s.Get(name, into.Interface())
			if got, want := fmt.Sprintf("%#v", into.Elem()), fmt.Sprintf("%#v", reflect.ValueOf(v)); !found || err != nil || got != want {
				h.t.Errorf("%s came back as %s, %v, %v", want, got, found, err)
			}
		}
	}
	u.with(func(s *webapps.Session) {
		for name, v := range values {
			h.report(s.Set(name, v))
		}
		compare(s)
	})
	u.with(compare)
	u.with(func(s *webapps.Session) { // an int in an any
		h.report(s.Set("any", []any{5}))
		if got, _, err := webapps.Get[[]any](s, "any"); fmt.Sprintf("%T %v", got[0], err) != "int64 <nil>" {
			h.t.Errorf("5 came back as %T, %v", got[0], err)
		}
	})
}

func valuesThatDoNotFit(h *host) {
	h.newUser().with(func(s *webapps.Session) {
		for _, c := range []struct {
			stored, into any
			want         string
		}{
			{1, new(string), `the stored integer doesn't fit a string`},
			{300, new(int8), `the stored integer doesn't fit a int8`},
			{-1, new(uint), `the stored integer doesn't fit a uint`},
			{uint64(math.MaxUint64), new(int), `the stored unsigned integer doesn't fit a int`},
			{"1", new(int), `the stored string doesn't fit a int`},
			{1, 1, `want a pointer to read into, not a int`},
			{1, (*int)(nil), `want a pointer to read into, not a *int`},
			{1, nil, `want a pointer to read into, not a <nil>`},
		} {
			h.report(s.Set("v", c.stored))
			found, err := s.Get("v", c.into)
			if h.is(err, `app contract: read attribute "v": `+c.want); !found {
				h.t.Errorf("%v into %T: it is there, but Get says it isn't", c.stored, c.into)
			}
			err = s.Update("v", c.into, func() error { h.t.Error("changed what was not read"); return nil })
			h.is(err, `app contract: update attribute "v": `+c.want)
		}
	})
}

func valuesRefused(h *host) {
	cycle := map[string]any{}
	cycle["self"] = cycle
	u := h.newUser()
	u.with(func(s *webapps.Session) {
		h.report(s.Set("v", "old"))
		for _, c := range []struct {
			value any
			want  string
		}{
			{nil, "nil can't be stored: use Remove"},
			{func() {}, "a func() can't be stored: cbor: unsupported type: func()"},
			{make(chan int), "a chan int can't be stored: cbor: unsupported type: chan int"},
			{
				struct{ hidden int }{1},
				"a struct { hidden int } can't be stored: struct { hidden int } has no exported field, so nothing of it would be stored",
			},
			{
				struct{ Err error }{io.EOF},
				"a struct { Err error } can't be stored: field Err: it holds a error, whose type nobody would know when it is read",
			},
			{cycle, "a map[string]interface {} can't be stored: it is nested deeper than 1000 levels, or contains itself"},
			{make([]byte, 1<<20), "the session is too large (limits: sessions.max_session_bytes, 1024 attributes)"},
		} {
			h.is(s.Set("v", c.value), `app contract: set attribute "v": `+c.want)
		}
		if v, _, err := webapps.Get[string](s, "v"); v != "old" || err != nil || len(s.Names()) != 1 {
			h.t.Errorf("a refused write changed the session: %q %v %v", v, err, s.Names())
		}
	})
	u.shows("v", "old")
}

func valuesAreCopies(h *host) {
	h.newUser().with(func(s *webapps.Session) {
		tags := []string{"a"}
		blob := []byte{1}
		h.report(s.Set("item", item{Tags: tags}))
		h.report(s.Set("blob", blob))
		tags[0], blob[0] = "changed", 2
		i, _, _ := webapps.Get[item](s, "item")
		b, _, _ := webapps.Get[[]byte](s, "blob")
		if i.Tags[0] != "a" || b[0] != 1 {
			h.t.Errorf("what Set stored is shared: %v %v", i, b)
		}
		b[0] = 3
		if b, _, _ := webapps.Get[[]byte](s, "blob"); b[0] != 1 {
			h.t.Errorf("what Get filled is shared: %v", b)
		}
	})
}

func names(h *host) {
	u := h.newUser()
	long := strings.Repeat("n", webapps.MaxNameBytes)
	u.with(func(s *webapps.Session) {
		for name, why := range map[string]string{
			"":         "attribute name of 0 bytes: want 1 to 256",
			long + "n": "attribute name of 257 bytes: want 1 to 256",
			"\x00n":    "names must not begin with a zero byte",
		} {
			h.is(s.Set(name, 1), fmt.Sprintf("app contract: set attribute %q: %s", name, why))
			err := s.Update(name, new(int), func() error { h.t.Error("changed"); return nil })
			h.is(err, fmt.Sprintf("app contract: update attribute %q: %s", name, why))
			found, err := s.Get(name, new(int))
			if h.is(err, fmt.Sprintf("app contract: read attribute %q: %s", name, why)); found {
				h.t.Errorf("there is a %q", name)
			}
			s.Remove(name)
		}
		h.report(s.Set(long, 1))
		h.report(s.Set("b", 1))
		h.report(s.Set("a", 1))
		h.report(s.Set("c", 1))
		s.Remove("c")
		s.Remove("never was")
		if got := fmt.Sprint(s.Names()); got != "[a b "+long+"]" {
			h.t.Errorf("names %s", got)
		}
	})
	u.with(func(s *webapps.Session) {
		s.Remove("b")
		if found, err := s.Get("b", new(int)); found || err != nil {
			h.t.Errorf("a removed attribute: %v %v", found, err)
		}
		h.report(s.Set("d", 1))
		if got := fmt.Sprint(s.Names()); got != "[a d "+long+"]" {
			h.t.Errorf("names %s", got)
		}
	})
	u.with(func(s *webapps.Session) {
		if got := fmt.Sprint(s.Names()); got != "[a d "+long+"]" {
			h.t.Errorf("names %s", got)
		}
	})
}

// full is the longest []byte that a session may have beside its name and kind.
const full = 1<<20 - len("v") - 1

func size(h *host) {
	u := h.newUser()
	check := func(s *webapps.Session) {
		if err := s.Set("v", make([]byte, full+1)); !errors.Is(err, webapps.ErrTooLarge) {
			h.t.Errorf("a byte over the limit: %v", err)
		}
		h.report(s.Set("v", make([]byte, full)))
		if err := s.Set("w", ""); !errors.Is(err, webapps.ErrTooLarge) {
			h.t.Errorf("a name over the limit: %v", err)
		}
		h.report(s.Set("v", make([]byte, full-2)))
		h.report(s.Set("w", ""))
		s.Remove("w")
		h.report(s.Set("v", make([]byte, full-2)))
	}
	u.with(check) // of a new session
	u.with(func(s *webapps.Session) { _ = s.SetPrincipal(strings.Repeat("ann", 100)) })
	u.with(check) // what the session is besides its attributes doesn't count
}

func attributes(h *host) {
	u := h.newUser()
	fill := func(s *webapps.Session) {
		for i := range webapps.MaxAttributes {
			h.report(s.Set("n"+strconv.Itoa(i), i))
		}
		if err := s.Set("more", 1); !errors.Is(err, webapps.ErrTooLarge) {
			h.t.Errorf("one more attribute: %v", err)
		}
		h.report(s.Set("n0", 2))
	}
	u.with(func(s *webapps.Session) {
		s.SetMaxInactive(time.Hour)
		fill(s)
	})
	u.with(fill)
	more := func(want error) func(*webapps.Session) {
		return func(s *webapps.Session) {
			s.Remove("never was")
			s.Remove("n0")
			if err := s.Set("more", 1); !errors.Is(err, want) {
				h.t.Errorf("one instead of one that was removed: %v, want %v", err, want)
			}
		}
	}
	u.with(more(webapps.ErrTooLarge))
	u.with(more(webapps.ErrTooLarge))
	u.with(func(s *webapps.Session) { h.report(s.ChangeID()) })
	u.with(more(nil))
}

// Two requests that fit, each alone: the later one's user is told.
func sizeAtCommit(h *host) {
	u := h.newUser()
	u.begin()
	half := make([]byte, 600<<10)
	first, second := make(chan bool), make(chan bool)
	go func() {
		u.copy().with(func(s *webapps.Session) {
			h.report(s.Set("a", half))
			first <- true
			<-second
		})
		first <- true
	}()
	got := u.serve(func(_ http.ResponseWriter, r *http.Request) {
		s := webapps.SessionOf(r)
		h.report(s.Set("b", half))
		<-first
		second <- true
		<-first
	})
	u.want(http.StatusServiceUnavailable, got)
	u.with(func(s *webapps.Session) {
		if fmt.Sprint(s.Names()) != "[a v]" {
			h.t.Errorf("names %v", s.Names())
		}
	})
}
