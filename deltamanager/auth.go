package deltamanager

import (
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Auth is what must change in one piece at a login: by which cookie the session
// is found, whose it is, how long it lives unused. It is the value of one
// register, so no member ever sees the new user under the old cookie.
type Auth struct {
	Tag         Tag
	Principal   string
	MaxInactive time.Duration // 0: as configured, negative: no limit

	unknown []byte // fields of a newer version, passed on as they came
}

// inactive is the limit in force; 0: none.
func (a Auth) inactive(configured time.Duration) time.Duration {
	switch {
	case a.MaxInactive < 0:
		return 0
	case a.MaxInactive > 0:
		return a.MaxInactive
	}
	return configured
}

// auth is the session's auth register; false while it has not arrived.
func (s *session) auth() (Auth, bool) {
	if len(s.regs) == 0 || s.regs[0].id != nil {
		return Auth{}, false
	}
	return parseAuth(s.regs[0].value)
}

// encode encodes a as session.v1.Auth.
func (a Auth) encode() []byte {
	b := make([]byte, 0, 18+len(a.Principal)+len(a.unknown)) // exact without the rest, as most are
	b = protowire.AppendTag(b, 1, protowire.BytesType)
	b = protowire.AppendBytes(b, a.Tag[:])
	if a.Principal != "" {
		b = protowire.AppendTag(b, 2, protowire.BytesType)
		b = protowire.AppendString(b, a.Principal)
	}
	if ms := authMillis(a.MaxInactive); ms != 0 {
		b = protowire.AppendTag(b, 3, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeZigZag(ms))
	}
	return append(b, a.unknown...)
}

func authMillis(d time.Duration) int64 {
	switch {
	case d < 0:
		return -1
	case d > 0 && d < time.Millisecond:
		return 1
	}
	return d.Milliseconds()
}

func parseAuth(b []byte) (Auth, bool) {
	var a Auth
	tagged := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeField(b)
		if n < 0 {
			return Auth{}, false
		}
		field := b[:n]
		b = b[n:]
		_, _, t := protowire.ConsumeTag(field)
		switch {
		case num == 1 && typ == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(field[t:])
			tagged = copy(a.Tag[:], v) == len(a.Tag) && len(v) == len(a.Tag)
		case num == 2 && typ == protowire.BytesType:
			v, _ := protowire.ConsumeBytes(field[t:])
			a.Principal = string(v)
		case num == 3 && typ == protowire.VarintType:
			v, _ := protowire.ConsumeVarint(field[t:])
			if a.MaxInactive = time.Duration(protowire.DecodeZigZag(v)) * time.Millisecond; a.MaxInactive < 0 {
				a.MaxInactive = -1
			}
		default:
			a.unknown = append(a.unknown, field...)
		}
	}
	return a, tagged
}
