package codec

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// maxDepth is how deep a stored value may be nested. Deeper ones, and those that
// contain themselves, are refused by Set; without that, a cycle would end the
// process, since a stack that is full can't be recovered from.
const maxDepth = 1000

// cborEncoding and cborDecoding keep what a Go value holds: times to the
// nanosecond, and whatever Set took can be read again, however many elements
// it has. A session is small, and its values were checked when they were set.
var (
	cborEncoding = must(cbor.EncOptions{Time: cbor.TimeRFC3339Nano, TimeTag: cbor.EncTagRequired}.EncMode())
	cborDecoding = must(cbor.DecOptions{
		MaxNestedLevels: 2 * maxDepth, MaxArrayElements: math.MaxInt32, MaxMapPairs: math.MaxInt32,
		IntDec: cbor.IntDecConvertSignedOrBigInt, // an int in an any is an int64, as one would expect
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // the options are constant
	}
	return v
}

var (
	bigIntType        = reflect.TypeFor[big.Int]()
	marshaler         = reflect.TypeFor[cbor.Marshaler]()
	unmarshaler       = reflect.TypeFor[cbor.Unmarshaler]()
	binaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	binaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
	errTooDeep        = fmt.Errorf("it is nested deeper than %d levels, or contains itself", maxDepth)
	errNothingToStore = errors.New("has no exported field, so nothing of it would be stored")
)

// storable tells what of a value CBOR would lose without a word, or could
// write but not read again, so that an author sees it at Set.
func storable(v reflect.Value, depth int) error {
	switch {
	case depth == 0:
		return errTooDeep
	case !v.IsValid(), v.Type() == timeType, v.Type() == bigIntType:
		return nil
	case v.Type().Implements(marshaler):
		return readable(v.Type(), unmarshaler)
	case v.Type().Implements(binaryMarshaler):
		return readable(v.Type(), binaryUnmarshaler)
	}
	switch v.Kind() { //nolint:exhaustive // the others hold no others
	case reflect.Pointer:
		return storable(v.Elem(), depth-1)
	case reflect.Interface:
		if v.NumMethod() > 0 {
			return fmt.Errorf("it holds a %s, whose type nobody would know when it is read", v.Type())
		}
		return storable(v.Elem(), depth-1)
	case reflect.Slice, reflect.Array:
		return storableElements(v, depth)
	case reflect.Map:
		for i := v.MapRange(); i.Next(); {
			if err := errors.Join(storable(i.Key(), depth-1), storable(i.Value(), depth-1)); err != nil {
				return err
			}
		}
	case reflect.Struct:
		return storableFields(v, depth, false)
	}
	return nil
}

// readable tells whether a type that writes itself can read itself.
func readable(t, by reflect.Type) error {
	if !t.Implements(by) && !reflect.PointerTo(t).Implements(by) {
		return fmt.Errorf("%s can be written but not read: it is no %s", t, by)
	}
	return nil
}

func storableElements(v reflect.Value, depth int) error {
	if v.Type().Elem().Kind() <= reflect.Complex128 || v.Type().Elem().Kind() == reflect.String {
		return nil // basic ones
	}
	for i := range v.Len() {
		if err := storable(v.Index(i), depth-1); err != nil {
			return err
		}
	}
	return nil
}

// storableFields checks those fields of a struct that are stored. An embedded
// struct may have none: a sync.Mutex is no part of the value.
func storableFields(v reflect.Value, depth int, embedded bool) error {
	t, stored := v.Type(), 0
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case omitted(f.Tag):
			stored++
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			stored++
			if err := storableFields(v.Field(i), depth-1, true); err != nil {
				return err
			}
		case f.IsExported():
			stored++
			switch err := storable(v.Field(i), depth-1); {
			case errors.Is(err, errTooDeep):
				return err // with a thousand fields
			case err != nil:
				return fmt.Errorf("field %s: %w", f.Name, err)
			}
		}
	}
	if stored == 0 && t.NumField() > 0 && !embedded {
		return fmt.Errorf("%s %w", t, errNothingToStore)
	}
	return nil
}

// omitted tells whether the author says so.
func omitted(tag reflect.StructTag) bool {
	name, ok := tag.Lookup("cbor")
	if !ok {
		name = tag.Get("json")
	}
	name, _, _ = strings.Cut(name, ",")
	return name == "-"
}
