package codec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/quick"
	"time"

	"github.com/google/go-cmp/cmp"
)

type (
	flag    bool
	level   int8
	counter uint16
	ratio   float32
	label   string
	packed  []byte
	stamped time.Time // as most named times: no method, no exported field

	address struct {
		Street string
		Zip    *int
	}
	order struct {
		Name    string
		At      time.Time
		Took    time.Duration
		Price   big.Int
		Lines   []address
		ByName  map[string]address
		ByLevel map[level]string
		Any     any
		Next    *order
		_       int    // not stored
		Left    func() `cbor:"-"`
		Out     func() `json:"-"`
	}
	embedding struct {
		sync.Mutex
		address
		N int
	}
	onlyWritten struct{ A int }
	linked      struct{ Next *linked }
)

func (onlyWritten) MarshalBinary() ([]byte, error) { return []byte("x"), nil }

// same compares as an author would: times by what they mean.
var same = cmp.Options{
	cmp.Exporter(func(reflect.Type) bool { return true }),
	cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
	cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

// Whatever Set takes, Get gives back, in the same type.
func TestValuesComeBack(t *testing.T) {
	now := time.Date(2026, 11, 22, 23, 59, 59, 123456789, time.FixedZone("", 3600))
	zip := 1010
	var long *linked
	for range 400 {
		long = &linked{long}
	}
	page, err := url.Parse("https://ann:pw@example.org/a?b=c")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []any{
		false, true, flag(true),
		0, -1, math.MaxInt, math.MinInt, int8(-128), int16(math.MaxInt16), int32(math.MinInt32), int64(math.MaxInt64), level(-3),
		uint(7), uint8(255), uint16(math.MaxUint16), uint32(math.MaxUint32), uint64(math.MaxInt64), uint64(math.MaxInt64 + 1), uint64(math.MaxUint64), counter(9),
		0.0, math.Copysign(0, -1), math.Pi, math.Inf(1), math.MaxFloat64, math.SmallestNonzeroFloat64, float32(1.1), float32(math.MaxFloat32), ratio(0.5),
		"", "grüezi\x00", "\xff\xfe no text", label("x"), strings.Repeat("x", 1<<20),
		[]byte{},
		[]byte{0, 255},
		packed("raw"),
		time.Time{},
		now, now.UTC(), time.Duration(0), -time.Hour,
		[]int(nil),
		[]int{},
		[]int{1, 2},
		make([]int, 200_000),
		[3]int{1, 2, 3},
		[]string{"a", ""},
		[][]byte{{1}, nil},
		[]any{int64(1), "a", nil, true, 1.5, []byte{1}},
		map[string]int(nil),
		map[string]int{},
		map[string]int{"a": 1},
		map[int]string{-1: "a"},
		map[string]any{"n": int64(-5), "t": now},
		&zip, (*int)(nil),
		struct{}{},
		address{},
		address{"A", &zip},
		[]address{{"A", &zip}, {}},
		&address{"B", nil},
		order{Name: "n", At: now, Took: time.Minute, Price: *big.NewInt(1 << 40), Lines: []address{{"A", &zip}}, ByName: map[string]address{"a": {}}, ByLevel: map[level]string{1: "x"}, Any: "any", Next: &order{Name: "m"}},
		embedding{address: address{"A", nil}, N: 1},
		netip.MustParseAddr("2001:db8::1"), page, *big.NewInt(-5), long,
	} {
		name := fmt.Sprintf("%T", v)
		b, err := Encode(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		into := reflect.New(reflect.TypeOf(v))
		if err := Decode(b, into.Interface()); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(v, into.Elem().Interface(), same); diff != "" && len(diff) < 1000 {
			t.Errorf("%s, written and read: -want +got\n%s", name, diff)
		} else if diff != "" {
			t.Errorf("%s, written and read, differs", name)
		}
	}
	nan, _ := Encode(math.NaN())
	var f float64
	if err := Decode(nan, &f); err != nil || !math.IsNaN(f) {
		t.Errorf("NaN: %v %v", f, err)
	}
}

// What could not be read again, or would be stored as nothing, is refused at
// Set, with the reason.
func TestValuesRefused(t *testing.T) {
	cycle := &linked{}
	cycle.Next = cycle
	selfmap := map[string]any{}
	selfmap["self"] = selfmap
	var deep any
	for range maxDepth + 1 {
		deep = []any{deep}
	}
	type reader struct{ From io.Reader }
	for want, v := range map[string]any{
		"nil can't be stored: use Remove": nil,
		"a chan int can't be stored":      make(chan int),
		"a func() can't be stored":        func() {},
		"a complex128 can't be stored":    1i,
		"a []func() can't be stored":      []func(){nil},
		"a *codec.linked can't be stored: it is nested deeper than 1000 levels, or contains itself":                                      cycle,
		"a map[string]interface {} can't be stored: it is nested deeper than 1000 levels, or contains itself":                            selfmap,
		"a []interface {} can't be stored: it is nested deeper than 1000 levels, or contains itself":                                     deep,
		"a codec.stamped can't be stored: codec.stamped has no exported field, so nothing of it would be stored":                         stamped(time.Now()),
		"a *errors.errorString can't be stored: errors.errorString has no exported field, so nothing of it would be stored":              errors.New("x"),
		"a struct { At codec.stamped } can't be stored: field At: codec.stamped has no exported field, so nothing of it would be stored": struct{ At stamped }{},
		"a map[string]*sync.Mutex can't be stored: sync.Mutex has no exported field, so nothing of it would be stored":                   map[string]*sync.Mutex{"a": {}},
		"a codec.reader can't be stored: field From: it holds a io.Reader, whose type nobody would know when it is read":                 reader{strings.NewReader("x")},
		"a codec.onlyWritten can't be stored: codec.onlyWritten can be written but not read: it is no encoding.BinaryUnmarshaler":        onlyWritten{1},
		"a []codec.onlyWritten can't be stored: codec.onlyWritten can be written but not read: it is no encoding.BinaryUnmarshaler":      []onlyWritten{{1}},
	} {
		if b, err := Encode(v); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%T: %d bytes, %v; want %s", v, len(b), err, want)
		}
	}
}

// An app may change its types from one version to the next, as far as that
// loses nothing; else Get says what doesn't fit what, and leaves the target alone.
func TestValuesOfOtherVersions(t *testing.T) {
	type v1 struct {
		Name string
		Old  int
	}
	type v2 struct {
		Name string
		New  []string
	}
	for _, c := range []struct {
		stored, into, want any
		err                string
	}{
		{7, new(int64), int64(7), ""},
		{uint8(7), new(int), 7, ""},
		{int64(7), new(level), level(7), ""},
		{7, new(time.Duration), time.Duration(7), ""},
		{time.Second, new(int), int(time.Second), ""},
		{7, new(uint), uint(7), ""},
		{"x", new(label), label("x"), ""},
		{label("x"), new(string), "x", ""},
		{float32(0.5), new(float64), 0.5, ""},
		{v1{"a", 1}, new(v2), v2{"a", nil}, ""},
		{v2{"a", []string{"b"}}, new(v1), v1{"a", 0}, ""},
		{[]int{1}, new([]int64), []int64{1}, ""},
		{address{"A", nil}, new(map[string]any), map[string]any{"Street": "A", "Zip": nil}, ""},
		{300, new(int8), nil, "the stored integer doesn't fit a int8"},
		{-1, new(uint), nil, "the stored integer doesn't fit a uint"},
		{uint64(math.MaxUint64), new(int64), nil, "the stored unsigned integer doesn't fit a int64"},
		{1e300, new(float32), nil, "the stored float doesn't fit a float32"},
		{1, new(string), nil, "the stored integer doesn't fit a string"},
		{1, new(float64), nil, "the stored integer doesn't fit a float64"},
		{"x", new(int), nil, "the stored string doesn't fit a int"},
		{true, new(int), nil, "the stored bool doesn't fit a int"},
		{[]byte("x"), new(string), nil, "the stored []byte doesn't fit a string"},
		{time.Time{}, new(string), nil, "the stored time.Time doesn't fit a string"},
		{"x", new(v1), nil, "the stored string doesn't fit a codec.v1"},
		{v1{"a", 1}, new(string), nil, "the stored value doesn't fit a string: cbor: cannot unmarshal map into Go value of type string"},
		{struct{ Name int }{1}, new(v1), nil, "the stored value doesn't fit a codec.v1: cbor: cannot unmarshal positive integer into Go struct field codec.v1.Name of type string"},
	} {
		b, err := Encode(c.stored)
		if err != nil {
			t.Fatal(err)
		}
		err = Decode(b, c.into)
		got := reflect.ValueOf(c.into).Elem()
		switch {
		case c.err == "" && (err != nil || !reflect.DeepEqual(got.Interface(), c.want)):
			t.Errorf("%#v into %T: %#v %v", c.stored, c.into, got, err)
		case c.err != "" && (err == nil || err.Error() != c.err || !got.IsZero()):
			t.Errorf("%#v into %T: %#v %v, want %s", c.stored, c.into, got, err, c.err)
		}
	}
	for _, into := range []any{nil, 7, (*int)(nil), "x"} {
		if err := Decode([]byte{kindInt, 2}, into); err == nil || !strings.HasPrefix(err.Error(), "want a pointer to read into, not a ") {
			t.Errorf("into %#v: %v", into, err)
		}
	}
	var n int
	if err := Decode([]byte{'Z', 1}, &n); err == nil ||
		err.Error() != `the stored value of kind 'Z', which a newer nodeserver wrote, doesn't fit a int` {
		t.Error(err)
	}
}

// A stored value is the store's own: neither what was Set nor what was got
// shares memory with it.
func TestValuesAreCopies(t *testing.T) {
	bytesIn, structIn := []byte("abc"), &order{Lines: []address{{"A", nil}}}
	b, _ := Encode(bytesIn)
	s, _ := Encode(structIn)
	bytesIn[0], structIn.Lines[0].Street = 'X', "X"
	for range 2 {
		var bytesOut []byte
		var structOut order
		if err := errors.Join(Decode(b, &bytesOut), Decode(s, &structOut)); err != nil {
			t.Fatal(err)
		}
		if string(bytesOut) != "abc" || structOut.Lines[0].Street != "A" {
			t.Errorf("%s %v", bytesOut, structOut)
		}
		bytesOut[0], structOut.Lines[0].Street = 'Y', "Y"
	}
}

// TestValuesAnyStruct draws values and wants them back.
func TestValuesAnyStruct(t *testing.T) {
	type inner struct {
		A int32
		B string
		C []byte
		D map[string]uint64
		E *float64
		F [4]bool
		G time.Duration
	}
	type outer struct {
		In  inner
		All []inner
		By  map[int16]inner
		P   *inner
	}
	identity := func(v outer) bool {
		b, err := Encode(v)
		if err != nil {
			t.Log(err)
			return false
		}
		var got outer
		if err := Decode(b, &got); err != nil {
			t.Log(err)
			return false
		}
		return cmp.Equal(v, got)
	}
	if err := quick.Check(identity, nil); err != nil {
		t.Error(err)
	}
	ints := func(n int64, u uint64, f float64, s string, b []byte, sec int64, ns int32) bool {
		at := time.Unix(sec%(1<<40), int64(ns)).UTC()
		var n2 int64
		var u2 uint64
		var f2 float64
		var s2 string
		var b2 []byte
		var at2 time.Time
		for v, into := range map[any]any{n: &n2, u: &u2, f: &f2, s: &s2, at: &at2} {
			e, err := Encode(v)
			if err != nil || Decode(e, into) != nil {
				return false
			}
		}
		e, err := Encode(b)
		return err == nil && Decode(e, &b2) == nil && n == n2 && u == u2 && f == f2 && s == s2 && bytes.Equal(b, b2) && at.Equal(at2)
	}
	if err := quick.Check(ints, nil); err != nil {
		t.Error(err)
	}
}

// FuzzDecodeValue: bytes from another node never panic, whatever they are read
// into, and an error changes nothing.
func FuzzDecodeValue(f *testing.F) {
	for _, v := range []any{true, -300, uint64(math.MaxUint64), 1.5, "x", []byte{1}, time.Unix(1e9, 5), order{Name: "n", At: time.Unix(1, 2)}, []any{1, "a"}, map[string]int{"a": 1}} {
		b, err := Encode(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, 0))
	}
	f.Add([]byte(nil))
	f.Add(append([]byte{kindCBOR}, bytes.Repeat([]byte{0x81}, 5000)...)) // arrays in arrays
	f.Add([]byte{kindCBOR, 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{kindInt, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		i, u, i8 := 77, uint(77), int8(77)
		fl, s, by, bo := float32(7.5), "before", []byte("before"), true
		at := time.Unix(77, 77).UTC()
		st := order{Name: "before", Lines: []address{{"A", nil}}}
		var a any = "before"
		m := map[string]int{"before": 1}
		for _, into := range []any{&i, &u, &i8, &fl, &s, &by, &bo, &at, &st, &a, &m} {
			was, _ := Encode(reflect.ValueOf(into).Elem().Interface())
			if err := Decode(b, into); err == nil {
				continue
			}
			if is, _ := Encode(reflect.ValueOf(into).Elem().Interface()); !bytes.Equal(is, was) {
				t.Errorf("%q into a %T failed and left %v", b, into, reflect.ValueOf(into).Elem())
			}
		}
	})
}

func BenchmarkValueOfStruct(b *testing.B) {
	v := order{Name: "n", Lines: make([]address, 20), ByName: map[string]address{"a": {}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(v); err != nil {
			b.Fatal(err)
		}
	}
}
