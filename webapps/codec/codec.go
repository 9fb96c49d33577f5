// Package codec turns attribute values into bytes and back: the one encoding
// that a node and package webappstest share, so that a test refuses what a node
// refuses.
//
// One byte names the kind, the rest is the value. Basic types have kinds of their
// own; every other type is CBOR (RFC 8949). Encode copies what it is given, and
// Decode fills a copy, so no stored value shares memory with an app. All functions
// are safe for concurrent use.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// The kinds of values. The cluster never looks inside. Integers of any size are
// one kind, and so are named types of a basic type, so an app may change between
// them.
const (
	kindBool   = 'b'
	kindInt    = 'i' // zigzag varint; time.Duration too
	kindUint   = 'u' // varint, above math.MaxInt64 only
	kindFloat  = 'f'
	kindString = 's'
	kindBytes  = 'x'
	kindTime   = 't' // time.MarshalBinary
	kindCBOR   = 'c' // RFC 8949; storable.go says what may be stored so
)

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

// Values is the codec as a webapps.Codec, for drivers of sessions to embed.
type Values struct{}

// Encode is the function Encode.
func (Values) Encode(v any) ([]byte, error) { return Encode(v) }

// Decode is the function Decode, and takes nil for the zero value.
func (Values) Decode(b []byte, into any) error {
	if b == nil {
		to, err := target(into)
		if err == nil {
			to.SetZero()
		}
		return err
	}
	return Decode(b, into)
}

// Encode returns v as bytes that share no memory with it. The error says what of
// v could not be stored, or could be stored and not read again: nil, functions,
// channels, structs without an exported field, interfaces with methods, values
// nested deeper than 1000 levels.
func Encode(v any) ([]byte, error) {
	switch x := v.(type) {
	case nil:
		return nil, errors.New("nil can't be stored: use Remove")
	case int:
		return appendInt(nil, int64(x)), nil
	case string:
		return append([]byte{kindString}, x...), nil
	case []byte:
		return append([]byte{kindBytes}, x...), nil
	case time.Time:
		b, err := x.MarshalBinary()
		return append([]byte{kindTime}, b...), err
	}
	switch r := reflect.ValueOf(v); {
	case r.Kind() == reflect.Bool:
		if r.Bool() {
			return []byte{kindBool, 1}, nil
		}
		return []byte{kindBool, 0}, nil
	case r.CanInt():
		return appendInt(nil, r.Int()), nil
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return appendInt(nil, int64(r.Uint())), nil
	case r.CanUint():
		return binary.AppendUvarint([]byte{kindUint}, r.Uint()), nil
	case r.CanFloat():
		return binary.LittleEndian.AppendUint64([]byte{kindFloat}, math.Float64bits(r.Float())), nil
	case r.Kind() == reflect.String:
		return append([]byte{kindString}, r.String()...), nil
	}
	err := storable(reflect.ValueOf(v), maxDepth)
	var b []byte
	if err == nil {
		b, err = cborEncoding.Marshal(v)
	}
	if err != nil {
		return nil, fmt.Errorf("a %T can't be stored: %w", v, err)
	}
	return append([]byte{kindCBOR}, b...), nil
}

func appendInt(b []byte, n int64) []byte { return binary.AppendVarint(append(b, kindInt), n) }

// Decode copies the value that Encode made into the pointer, if the pointer's type
// can hold it. An error says what doesn't fit, and leaves the target alone.
func Decode(b []byte, into any) error {
	if len(b) == 0 {
		return errors.New("the stored value is empty")
	}
	if p, ok := into.(*int); ok && p != nil && b[0] == kindInt { // the most frequent one, without reflection
		if n, size := binary.Varint(b[1:]); size == len(b)-1 && int64(int(n)) == n {
			*p = int(n)
			return nil
		}
	}
	to, err := target(into)
	if err != nil {
		return err
	}
	if b[0] == kindCBOR {
		fresh := reflect.New(to.Type())
		if err := cborDecoding.Unmarshal(b[1:], fresh.Interface()); err != nil {
			return fmt.Errorf("the stored value doesn't fit a %s: %w", to.Type(), err)
		}
		to.Set(fresh.Elem())
		return nil
	}
	if !assign(to, b[0], b[1:]) {
		return fmt.Errorf("the stored %s doesn't fit a %s", kindName(b[0]), to.Type())
	}
	return nil
}

// target is the value that a non-nil pointer points at. The error says what into
// is where it is no pointer.
func target(into any) (reflect.Value, error) {
	r := reflect.ValueOf(into)
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return reflect.Value{}, fmt.Errorf("want a pointer to read into, not a %T", into)
	}
	return r.Elem(), nil
}

func kindName(kind byte) string {
	names := map[byte]string{
		kindBool: "bool", kindInt: "integer", kindUint: "unsigned integer", kindFloat: "float",
		kindString: "string", kindBytes: "[]byte", kindTime: "time.Time",
	}
	if n := names[kind]; n != "" {
		return n
	}
	return fmt.Sprintf("value of kind %q, which a newer nodeserver wrote,", kind)
}

// assign sets to and reports whether the value, whole, fits it.
func assign(to reflect.Value, kind byte, b []byte) bool {
	switch kind {
	case kindBool:
		if to.Kind() == reflect.Bool && len(b) == 1 {
			to.SetBool(b[0] != 0)
			return true
		}
	case kindInt:
		n, size := binary.Varint(b)
		return size == len(b) && assignInt(to, n)
	case kindUint:
		n, size := binary.Uvarint(b)
		if size == len(b) && to.CanUint() && !to.OverflowUint(n) {
			to.SetUint(n)
			return true
		}
	case kindFloat:
		if len(b) == 8 && to.CanFloat() {
			f := math.Float64frombits(binary.LittleEndian.Uint64(b))
			if !to.OverflowFloat(f) {
				to.SetFloat(f)
				return true
			}
		}
	case kindString:
		if to.Kind() == reflect.String {
			to.SetString(string(b))
			return true
		}
	case kindBytes:
		if to.Type() == bytesType {
			to.SetBytes(append([]byte{}, b...))
			return true
		}
	case kindTime:
		var t time.Time
		if to.Type() == timeType && t.UnmarshalBinary(b) == nil {
			to.Set(reflect.ValueOf(t))
			return true
		}
	}
	return false
}

func assignInt(to reflect.Value, n int64) bool {
	switch {
	case to.CanInt() && !to.OverflowInt(n):
		to.SetInt(n)
	case to.CanUint() && n >= 0 && !to.OverflowUint(uint64(n)):
		to.SetUint(uint64(n))
	default:
		return false
	}
	return true
}
