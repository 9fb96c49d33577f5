package table

import (
	"bytes"
	"encoding/hex"
	"time"
)

// Brief is what lists show of a session.
type Brief struct {
	Info
	Attributes int // that have a value
	Bytes      int // of their names and values, and of those of removed ones
	Returned   bool
	Partial    bool // registers are known to be missing: users don't see it yet
}

// Wanted says which sessions a list has. The zero value: all.
type Wanted struct {
	Principal string        // of this user
	Prefix    string        // whose key begins with these hex digits
	Idle      time.Duration // that have not been used for as long
}

// Look shows the sessions of one bucket that are wanted and have not expired, while it is locked:
// show is to be quick, and to keep nothing of the session but what it copies. The lock is held
// for some hundred sessions at most, so who goes through all buckets delays nobody.
func (t *Table) Look(bucket int, now time.Duration, w Wanted, show func(s *Session)) {
	if t.Digest(bucket) == 0 {
		return
	}
	b := t.LockAt(bucket)
	defer b.Unlock()
	principal := []byte(w.Principal)
	for _, e := range b.sessions {
		s := e.Session
		if b.Expired(s, now) || now-s.Last < w.Idle || !s.of(w.Principal, principal) || !s.Key.begins(w.Prefix) {
			continue
		}
		show(s)
	}
}

// of tells whether the session is of this user, given twice, so that nothing is allocated for
// most others; empty: of anybody.
func (s *Session) of(principal string, text []byte) bool {
	if principal == "" {
		return true
	}
	if len(s.Regs) == 0 || !bytes.Contains(s.Regs[0].Value, text) {
		return false
	}
	a, ok := s.Auth()
	return ok && a.Principal == principal
}

func (k *Key) begins(prefix string) bool {
	if prefix == "" {
		return true
	}
	var text [2 * len(k)]byte
	hex.Encode(text[:], k[:])
	return len(prefix) <= len(text) && string(text[:len(prefix)]) == prefix
}

// Brief is a copy of what lists show.
func (s *Session) Brief() Brief {
	a, _ := s.Auth()
	_, n := s.attributes()
	return Brief{Info: s.Info(a), Attributes: len(s.Names()), Bytes: n, Returned: s.Returned, Partial: s.partial}
}

// Copy is all that is here of one session; false: nothing is.
func (t *Table) Copy(now time.Duration, k Key) (Brief, []DumpRegister, uint64, bool) {
	b := t.Lock(k)
	defer b.Unlock()
	s := b.Session(k)
	if s == nil || b.Expired(s, now) {
		return Brief{}, nil, 0, false
	}
	return s.Brief(), s.dump().Registers, s.State(), true
}
