package table

import (
	"encoding/binary"
	"hash/fnv"
	"io"
)

// HeldEntry is the size of an entry in what HeldBy lists: the hash of a name, and the
// stamp of its register. MaxHeld bounds the entries: sessions with more names are sent whole.
const (
	HeldEntry = 24
	MaxHeld   = 100
)

// HeldBy lists what is here of a session; empty if that is too much to be sent.
func (t *Table) HeldBy(k Key) string {
	b := t.Lock(k)
	defer b.Unlock()
	s := b.Session(k)
	if s == nil || len(s.Regs) > MaxHeld {
		return ""
	}
	list := make([]byte, 0, HeldEntry*len(s.Regs))
	for i := range s.Regs {
		list = binary.LittleEndian.AppendUint64(list, nameHash(s.Regs[i].Name()))
		list = binary.LittleEndian.AppendUint64(list, s.Regs[i].Stamp.Clock)
		list = binary.LittleEndian.AppendUint64(list, s.Regs[i].Stamp.Incarnation)
	}
	return string(list)
}

func parseHeld(list string) map[uint64]Stamp {
	held := make(map[uint64]Stamp, len(list)/HeldEntry)
	for b := []byte(list); len(b) >= HeldEntry; b = b[HeldEntry:] {
		held[binary.LittleEndian.Uint64(b)] = Stamp{binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])}
	}
	return held
}

func nameHash(name string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, name) // never fails
	return h.Sum64()
}
