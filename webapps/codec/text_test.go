package codec_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/webapps/codec"
)

// Operators see the type and the value of whatever can be stored, and of rubbish.
func TestTypesAndTexts(t *testing.T) {
	for _, c := range []struct {
		value      any
		kind, text string
	}{
		{true, "bool", "true"},
		{-7, "integer", "-7"},
		{uint64(1 << 63), "unsigned integer", "9223372036854775808"},
		{1.5, "float", "1.5"},
		{"a\x1b<b>", "string", `"a\x1b<b>"`},
		{[]byte{1, 255}, "[]byte", "01ff"},
		{time.Unix(0, 0).UTC(), "time.Time", "1970-01-01T00:00:00Z"},
		{map[string]int{"a": 1}, "struct or map", `{"a": 1}`},
		{[]string{"x"}, "list", `["x"]`},
		{struct{ N int }{3}, "struct or map", `{"N": 3}`},
	} {
		b, err := codec.Encode(c.value)
		if err != nil {
			t.Fatal(err)
		}
		if kind, text := codec.TypeOf(b), codec.TextOf(b, 1000); kind != c.kind || text != c.text {
			t.Errorf("%v: %q %q, want %q %q", c.value, kind, text, c.kind, c.text)
		}
	}
	for _, rubbish := range []string{"", "c", "c\xff\xff", "t1", "f1", "?abc", "i"} {
		_ = codec.TypeOf([]byte(rubbish)) // nothing to see but that it returns
		_ = codec.TextOf([]byte(rubbish), 10)
	}
	b, err := codec.Encode(strings.Repeat("x", 100))
	if err != nil {
		t.Fatal(err)
	}
	if text := codec.TextOf(b, 10); text != `"xxxxxxxxx…` {
		t.Errorf("%q", text)
	}
}
