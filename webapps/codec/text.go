package codec

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// TypeOf names the type of a stored value, for operators: bool, integer, float, string, []byte,
// time.Time, or for the values that are CBOR: struct or map, list, number and the like.
func TypeOf(b []byte) string {
	switch {
	case len(b) == 0:
		return "nothing"
	case b[0] != kindCBOR:
		return kindName(b[0])
	case len(b) < 2:
		return "nothing"
	}
	return [...]string{"integer", "integer", "[]byte", "string", "list", "struct or map", "tagged value", "other"}[b[1]>>5]
}

// TextOf shows a stored value to operators, cut off after that many bytes: CBOR in its diagnostic
// notation (RFC 8949 section 8), strings in quotes, bytes in hex.
func TextOf(b []byte, most int) string {
	text := textOf(b)
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}

func textOf(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	v := b[1:]
	switch b[0] {
	case kindBool:
		return strconv.FormatBool(len(v) == 1 && v[0] != 0)
	case kindInt:
		n, _ := binary.Varint(v)
		return strconv.FormatInt(n, 10)
	case kindUint:
		n, _ := binary.Uvarint(v)
		return strconv.FormatUint(n, 10)
	case kindFloat:
		if len(v) == 8 {
			return strconv.FormatFloat(math.Float64frombits(binary.LittleEndian.Uint64(v)), 'g', -1, 64)
		}
	case kindString:
		return strconv.Quote(string(v))
	case kindTime:
		var t time.Time
		if t.UnmarshalBinary(v) == nil {
			return t.Format(time.RFC3339Nano)
		}
	case kindCBOR:
		if text, err := cbor.Diagnose(v); err == nil {
			return text
		}
	}
	return hex.EncodeToString(v)
}
