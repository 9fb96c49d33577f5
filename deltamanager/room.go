package deltamanager

import "github.com/nodeserver/nodeserver/deltamanager/internal/table"

// evict ends the oldest newcomer. It reports false if there is none.
func (c *Core) evict() bool {
	s := c.table.Evict()
	if s == nil {
		return false
	}
	c.log.publish(&change{pos: c.log.reserve(), key: s.Key, over: table.Expired, last: s.Last})
	c.stats.evicted.Add(1)
	c.observe(c.ended(Expired, s, false))
	return true
}

// makeRoom ends newcomers, if need be, so that one more session may be made. It reports
// false if the table is full of sessions whose users came back.
func (c *Core) makeRoom() bool {
	if limit := c.cfg.MaxNewcomers; limit > 0 {
		for range maxEvictions {
			if c.table.Unreturned() < int64(limit) || !c.evict() {
				break
			}
		}
	}
	return !c.table.Full() || c.evict()
}

// maxEvictions bounds what one new session has to do where there are more
// newcomers than there may be: what others made, or a split kept apart.
const maxEvictions = 4
