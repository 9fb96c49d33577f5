package webappstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// value is a stored attribute: one of int64, uint64 (what int64 can't hold), float64, bool, string,
// []byte and time.Time, or encoded for any other type. It shares no memory with the app.
type value struct {
	native  any
	encoded []byte // JSON, where native is nil
}

func (v value) size() int {
	switch n := v.native.(type) {
	case nil:
		return len(v.encoded)
	case string:
		return len(n)
	case []byte:
		return len(n)
	default:
		return 8
	}
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

func encode(val any) (value, error) {
	r := reflect.ValueOf(val)
	if !r.IsValid() {
		return value{}, errors.New("nil can't be stored: use Remove")
	}
	switch {
	case r.Type() == timeType:
		return value{native: val}, nil
	case r.Type() == bytesType:
		return value{native: append([]byte{}, r.Bytes()...)}, nil
	case r.Kind() == reflect.Bool:
		return value{native: r.Bool()}, nil
	case r.CanInt():
		return value{native: r.Int()}, nil
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return value{native: int64(r.Uint())}, nil
	case r.CanUint():
		return value{native: r.Uint()}, nil
	case r.CanFloat():
		return value{native: r.Float()}, nil
	case r.Kind() == reflect.String:
		return value{native: r.String()}, nil
	}
	b, err := json.Marshal(val)
	if err != nil {
		return value{}, fmt.Errorf("a %T can't be stored: %w", val, err)
	}
	return value{encoded: b}, nil
}

// target is what a non-nil pointer points at.
func target(into any) (reflect.Value, error) {
	r := reflect.ValueOf(into)
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return reflect.Value{}, fmt.Errorf("want a pointer to read into, not a %T", into)
	}
	return r.Elem(), nil
}

func clearPointer(into any) error {
	r, err := target(into)
	if err == nil {
		r.SetZero()
	}
	return err
}

// pointee is the value that a pointer checked by clearPointer points at.
func pointee(into any) any { return reflect.ValueOf(into).Elem().Interface() }

// decode copies the value into the pointer, if its type can hold it.
func (v value) decode(into any) error {
	to, err := target(into)
	if err != nil {
		return err
	}
	if v.native == nil {
		fresh := reflect.New(to.Type()) // an error leaves the caller's value alone
		if err := json.Unmarshal(v.encoded, fresh.Interface()); err != nil {
			return fmt.Errorf("the stored value doesn't fit a %s: %w", to.Type(), err)
		}
		to.Set(fresh.Elem())
		return nil
	}
	if !v.assign(to) {
		return fmt.Errorf("the stored %s doesn't fit a %s", v.kind(), to.Type())
	}
	return nil
}

// kind is what a native value is called; integers of any size are one kind.
func (v value) kind() string {
	switch v.native.(type) {
	case int64:
		return "integer"
	case uint64:
		return "unsigned integer"
	case float64:
		return "float"
	case []byte:
		return "[]byte"
	default:
		return fmt.Sprintf("%T", v.native)
	}
}

// assign sets to and reports whether the value, whole, fits it.
func (v value) assign(to reflect.Value) bool {
	switch n := v.native.(type) {
	case int64:
		return assignInt(to, n)
	case uint64:
		if to.CanUint() && !to.OverflowUint(n) {
			to.SetUint(n)
			return true
		}
	case float64:
		if to.CanFloat() && !to.OverflowFloat(n) {
			to.SetFloat(n)
			return true
		}
	case bool:
		if to.Kind() == reflect.Bool {
			to.SetBool(n)
			return true
		}
	case string:
		if to.Kind() == reflect.String {
			to.SetString(n)
			return true
		}
	case []byte:
		if to.Type() == bytesType {
			to.SetBytes(append([]byte{}, n...))
			return true
		}
	case time.Time:
		if to.Type() == timeType {
			to.Set(reflect.ValueOf(n))
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
