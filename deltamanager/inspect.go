package deltamanager

import "time"

// Dump copies all sessions, by bucket and key. Sessions that have expired and
// were not swept yet are left out.
func (c *Core) Dump(now time.Duration) []Dump { return c.table.Dump(now) }

// Peek is Open without using the session.
func (c *Core) Peek(now time.Duration, cookie CookieHash) (Info, bool) {
	return c.table.Peek(now, cookie)
}

// StampOf is the stamp of a session's register, zero if there is none.
func (c *Core) StampOf(k Key, name string) Stamp { return c.table.StampOf(k, name) }

// Dead tells whether the session is known here to have been invalidated.
func (c *Core) Dead(k Key) bool { return c.table.KnowsDead(k) }

// Proves tells whether a member made the token for the session with the cookie hash, as far as
// this node knows the members' keys.
func (c *Core) Proves(cookie CookieHash, t Token) bool { return c.keys.Proves(cookie, &t) }

// Digest is the sum over all sessions and tombstones: equal digests mean equal
// state. For tests and operators.
func (c *Core) Digest() uint64 { return c.table.Root() }
