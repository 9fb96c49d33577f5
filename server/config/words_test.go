package config

import (
	"encoding"
	"testing"
)

// Each word that is allowed is taken; any other is refused by an error that names them all.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		to interface {
			encoding.TextUnmarshaler
			Words() []string
		}
		want string
	}{
		{to: new(Acks), want: `"" is none of async, one, majority, all`},
		{to: new(OnAckTimeout), want: `"" is none of proceed, fail`},
		{to: new(JoinPolicy), want: `"" is none of wait, serve`},
		{to: new(Freshness), want: `"" is none of on, off`},
		{to: new(AccessLog), want: `"" is none of off, common, json`},
		{to: new(ProxyProtocol), want: `"" is none of off, optional, required`},
		{to: new(Provider), want: `"" is none of mdns, static, dns, file`},
		{to: new(LogLevel), want: `"" is none of debug, info, warn, error`},
		{to: new(LogFormat), want: `"" is none of text, json`},
	} {
		for _, word := range c.to.Words() {
			if err := c.to.UnmarshalText([]byte(word)); err != nil {
				t.Errorf("%T: %v", c.to, err)
			}
			if err := c.to.UnmarshalText([]byte(word + " ")); err == nil {
				t.Errorf("%T takes %q", c.to, word+" ")
			}
		}
		if err := c.to.UnmarshalText(nil); err == nil || err.Error() != c.want {
			t.Errorf("%T: %v, want %s", c.to, err, c.want)
		}
	}
	var a Acks
	if err := a.UnmarshalText([]byte("majority")); err != nil || a != AcksMajority {
		t.Errorf("%q, %v", a, err)
	}
	if err := a.UnmarshalText([]byte("some")); err == nil || a != AcksMajority {
		t.Errorf("after a word that is refused: %q, %v", a, err)
	}
}
