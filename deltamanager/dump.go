package deltamanager

import "time"

// Dump is a copy of one session as it is at this node, for tests and operators.
type Dump struct {
	Key       Key
	Partial   bool // registers are known to be missing
	Returned  bool // its cookie came back, or need not
	Created   time.Duration
	Last      time.Duration
	Registers []DumpRegister // by name; the first is the auth register, named ""
}

// DumpRegister is one register of a Dump. Value is nil when it was removed; it
// must not be changed.
type DumpRegister struct {
	Name  string
	Stamp Stamp
	Value []byte
}

// Dump copies all sessions, by bucket and key. Sessions that have expired and
// were not swept yet are left out.
func (c *Core) Dump(now time.Duration) []Dump {
	var out []Dump
	for i := range c.table.buckets {
		b := &c.table.buckets[i]
		if b.sum.Load() == 0 {
			continue
		}
		b.mu.Lock()
		for _, s := range b.sessions {
			if !s.expired(now, c.cfg.AbsoluteLifetime, c.cfg.FirstInactive) {
				out = append(out, s.dump())
			}
		}
		b.mu.Unlock()
	}
	return out
}

func (s *session) dump() Dump {
	d := Dump{Key: s.key, Partial: s.partial, Returned: s.returned, Created: s.created, Last: s.last, Registers: make([]DumpRegister, len(s.regs))}
	for i, r := range s.regs {
		d.Registers[i] = DumpRegister{r.name(), r.stamp, r.value}
	}
	return d
}

// Peek is Open without using the session.
func (c *Core) Peek(now time.Duration, tag Tag) (Info, bool) {
	s := c.table.byTag(tag)
	if s == nil {
		return Info{}, false
	}
	b := c.table.of(s.key)
	b.mu.Lock()
	defer b.mu.Unlock()
	a, ok := c.serves(now, s, tag)
	if !ok {
		return Info{}, false
	}
	return s.info(a), true
}

// StampOf is the stamp of a session's register, zero if there is none.
func (c *Core) StampOf(k Key, name string) Stamp {
	b := c.table.of(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.session(k); s != nil {
		if i, ok := s.find(name); ok {
			return s.regs[i].stamp
		}
	}
	return Stamp{}
}

// Dead tells whether the session is known here to have been invalidated.
func (c *Core) Dead(k Key) bool {
	b := c.table.of(k)
	b.mu.Lock()
	defer b.mu.Unlock()
	_, dead := b.tombs[k]
	return dead
}

// Proves tells whether a member made the token for the session with the tag, as far as
// this node knows the members' keys.
func (c *Core) Proves(tag Tag, t Token) bool { return c.keys.proves(tag, &t) }
