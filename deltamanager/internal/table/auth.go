package table

import (
	"encoding/binary"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Auth is by which cookie a session is found, and whose the session is. It is the
// value of one register, written when the session is made and never again: a login,
// or whatever else gives a user a new id, makes a new session (see [Core.Move]). So a
// node knows all that belongs to a cookie by the session's key, in whichever order
// it hears of things.
type Auth struct {
	CookieHash CookieHash
	Principal  string
	Parent     Key // of the session in whose place this one goes on; zero: none. It is over.

	unknown []byte // fields of a newer version, passed on as they came
}

// Auth is the session's auth register; false while it has not arrived.
func (s *Session) Auth() (Auth, bool) {
	if len(s.Regs) == 0 || s.Regs[0].ID != nil {
		return Auth{}, false
	}
	return parseAuth(s.Regs[0].Value)
}

// Encode encodes a as session.v1.Auth.
func (a Auth) Encode() []byte {
	n := 18 + len(a.Principal) + len(a.unknown) // exact without the rest, as most are
	if a.Parent != (Key{}) {
		n += 18
	}
	b := make([]byte, 0, n)
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, a.CookieHash[:])
	if a.Principal != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, a.Principal)
	}
	if a.Parent != (Key{}) {
		b = protowire.AppendTag(b, 4, protowire.BytesType)
		b = protowire.AppendBytes(b, a.Parent[:])
	}
	return append(b, a.unknown...)
}

func parseAuth(b []byte) (Auth, bool) {
	var a Auth
	known := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return Auth{}, false
		}
		field := b[:n]
		b = b[n:]
		_, _, t := protowire.ConsumeTag(field)
		var v []byte
		if typ == protowire.BytesType {
			v, _ = protowire.ConsumeBytes(field[t:])
		}
		switch {
		case num == 1 && typ == protowire.BytesType:
			known = copy(a.CookieHash[:], v) == len(a.CookieHash) && len(v) == len(a.CookieHash)
		case num == 2 && typ == protowire.BytesType:
			a.Principal = string(v)
		case num == 4 && typ == protowire.BytesType:
			if len(v) == len(a.Parent) {
				copy(a.Parent[:], v)
			}
		default:
			a.unknown = append(a.unknown, field...)
		}
	}
	return a, known
}

// Reserved is the byte with which names of the core's own registers begin.
const Reserved = "\x00"

// InactiveName is the name of the register that says how long the session lives
// unused, in milliseconds: a zigzag varint, negative: no limit. Without it the
// configured time holds.
const InactiveName = Reserved + "inactive"

// EncodeInactive is the value of the register InactiveName.
func EncodeInactive(d time.Duration) []byte {
	ms := d.Milliseconds()
	switch {
	case d <= 0:
		ms = -1
	case ms == 0:
		ms = 1
	}
	return binary.AppendVarint(nil, ms)
}

// parseInactive is the limit in force, 0: none, where the register has this value.
func parseInactive(b []byte, configured time.Duration) time.Duration {
	ms, n := binary.Varint(b)
	switch {
	case n <= 0:
		return configured
	case ms < 0:
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
