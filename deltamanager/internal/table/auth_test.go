package table

import (
	"bytes"
	"testing"

	sessionv1 "github.com/nodeserver/nodeserver/proto/session/v1"

	"google.golang.org/protobuf/proto"

	"github.com/nodeserver/nodeserver/deltamanager/internal/hostile"
)

func TestAuthIsWhatTheSchemaSays(t *testing.T) {
	for _, a := range []Auth{
		{CookieHash: CookieHash{1, 2}},
		{CookieHash: CookieHash{9}, Principal: "ann"},
		{CookieHash: CookieHash{9}, Parent: Key{3, 15: 4}},
	} {
		var got sessionv1.Auth
		if err := proto.Unmarshal(a.Encode(), &got); err != nil {
			t.Fatal(err)
		}
		parent := make([]byte, 0, len(a.Parent))
		if a.Parent != (Key{}) {
			parent = a.Parent[:]
		}
		if !bytes.Equal(got.GetCookieHash(), a.CookieHash[:]) || got.GetPrincipal() != a.Principal ||
			!bytes.Equal(got.GetParent(), parent) {
			t.Errorf("the generated code reads %v from %+v", &got, a)
		}
		wire, err := proto.Marshal(&got)
		if err != nil {
			t.Fatal(err)
		}
		if read, ok := parseAuth(wire); !ok || read.CookieHash != a.CookieHash || read.Principal != a.Principal || read.Parent != a.Parent {
			t.Errorf("read %+v %v, want %+v", read, ok, a)
		}
	}
	newer := append(Auth{CookieHash: CookieHash{1}}.Encode(), 0xa2, 0x06, 1, 'x') // field 100: "x"
	a, ok := parseAuth(newer)
	if !ok || !bytes.Equal(a.Encode(), newer) {
		t.Errorf("a newer version's field is not passed on: %x, want %x", a.Encode(), newer)
	}
}

func FuzzAuth(f *testing.F) {
	f.Add(Auth{CookieHash: CookieHash{1}, Principal: "a"}.Encode())
	f.Add(bytes.Repeat([]byte{0x20, 0}, 5000))
	f.Fuzz(func(t *testing.T, b []byte) { hostile.Survives(t, b, func() { _, _ = parseAuth(b) }) })
}
