package deltamanager

import (
	"math"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Answers to questions for single sessions. An answer says what is new to the asker,
// which for a session that both have is next to nothing. What is longer than largeAnswer goes
// on the bulk stream, so that no session stands before the changes of all. And what is
// answered is bounded in bytes: for each session, so that its user can't make the members
// send it to and fro, and for each link and stream.
const (
	frameReplies = 256 // answers in one frame
	largeAnswer  = 64 << 10
	smallAnswer  = 256

	answerRate, answerBurst   = 4 << 20, 8 << 20 // bytes a second, and at once, of a stream
	sessionRate, sessionBurst = 1 << 20, 4 << 20 // of one session
)

// replyDue tells whether an answer is owed on the live stream that may be given now.
// Called with l.mu held.
func (l *link) replyDue(now time.Duration) bool {
	return len(l.replies) > 0 && l.spent[0].left(now, answerRate, answerBurst)
}

// owesLarge is replyDue for the bulk stream.
func (c *Core) owesLarge(now time.Duration, l *link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up && len(l.large) > 0 && l.spent[1].left(now, answerRate, answerBurst)
}

// appendAsks encodes questions and answers that are due. Called with l.mu held.
func (c *Core) appendAsks(now time.Duration, l *link, body []byte) []byte {
	for _, a := range l.asks[len(l.asks)-l.unasked:] {
		m := askMessage{request: a.request, key: a.key, tag: a.tag, state: a.state, since: a.since, held: a.held}
		body = m.append(body)
	}
	l.unasked = 0
	for n := 0; n < frameReplies && len(body) < frameBytes && l.replyDue(now); n++ {
		q := l.replies[0]
		l.replies = l.replies[1:]
		m := replyMessage{request: q.request}
		var size int
		if m.encoded, size = c.answer(nil, now, &q, largeAnswer); size > largeAnswer {
			l.large = append(l.large, q)
			continue
		}
		if m.refused = !c.spend(now, &q, size); m.refused {
			m.encoded = nil
		}
		before := len(body)
		body = m.append(body)
		l.spent[0].take(now, float64(len(body)-before), answerRate, answerBurst)
	}
	return body
}

// answerLarge answers one question on the bulk stream. Called with l.mu held.
func (c *Core) answerLarge(now time.Duration, l *link) *repairMessage {
	q := l.large[0]
	l.large = l.large[1:]
	r := &sessionsReply{asks: []uint64{q.request}}
	var size int
	if r.encoded, size = c.answer(nil, now, &q, math.MaxInt); !c.spend(now, &q, size) {
		r.encoded, r.refused = nil, true
	}
	l.spent[1].take(now, float64(len(r.encoded)), answerRate, answerBurst)
	return &repairMessage{sessions: r}
}

// spend takes bytes from what may be answered of the session. False: nothing is left. What
// is hardly longer than the question is always answered.
func (c *Core) spend(now time.Duration, q *askMessage, size int) bool {
	if size <= smallAnswer || c.answered.take(now, q.key.Hash(c.cfg.Seed), float64(size), sessionRate, sessionBurst) {
		return true
	}
	c.stats.asksRefused.Add(1)
	return false
}

// answer encodes what a question's asker lacks of the session, unless that takes more
// than most bytes. It returns how many it takes; none: the session is not here. The
// question gets to know the session's key.
func (c *Core) answer(body []byte, now time.Duration, q *askMessage, most int) (encoded []byte, size int) {
	if q.key == (Key{}) {
		s := c.table.ByTag(q.tag)
		if s == nil {
			return body, 0
		}
		q.key = s.Key
	}
	b := c.table.Lock(q.key)
	defer b.Unlock()
	d, ok := b.DeadDelta(now, q.key)
	if s := b.Session(q.key); s != nil {
		d, ok = s.News(now, q.state, q.since, q.held, c.cfg.Self.Boot), true
	}
	if !ok {
		return body, 0
	}
	if size = deltaSize(&d, c.cfg.Self.Boot); size > most {
		return body, size
	}
	return appendDelta(body, 2, &d, c.cfg.Self.Boot), size
}

// questions takes the questions and answers of a frame. It reports whether
// answers are owed.
func (c *Core) questions(now time.Duration, l *link, f *frame, late time.Duration) bool {
	for _, r := range f.replies {
		if r.delta != nil {
			c.applyRaw(now, l, r.delta, late, table.Asked)
		}
		l.mu.Lock()
		l.settleAsks(r.request, r.refused)
		l.mu.Unlock()
	}
	if len(f.asks) == 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range f.asks {
		if len(l.replies)+len(l.large) < maxAsks {
			l.replies = append(l.replies, a)
		}
	}
	return true
}
