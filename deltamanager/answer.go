package deltamanager

import (
	"math"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
	"github.com/nodeserver/nodeserver/deltamanager/internal/wire"
)

// Answers to questions for single sessions. An answer says what is new to the asker,
// which for a session that both have is next to nothing. What is longer than largeAnswer goes
// on the bulk stream, so that no session stands before the changes of all. And what is
// answered is bounded in bytes: for each session, so that its user can't make the members
// send it to and fro, and for each link and stream.
const (
	largeAnswer = 64 << 10
	smallAnswer = 256

	answerRate, answerBurst   = 4 << 20, 8 << 20 // bytes a second, and at once, of a stream
	sessionRate, sessionBurst = 1 << 20, 4 << 20 // of one session
)

// replyDue tells whether an answer is owed on the live stream that may be given now.
func (l *locked) replyDue(now time.Duration) bool {
	return len(l.questions.replies) > 0 && l.questions.spent[0].left(now, answerRate, answerBurst)
}

// answerer answers questions for single sessions.
type answerer struct {
	*base
	applier  *applier
	answered shares // bytes of answers, by session
}

// owesLarge is replyDue for the bulk stream.
func (c *answerer) owesLarge(now time.Duration, to *link) bool {
	l := to.lock()
	defer l.unlock()
	return l.up && len(l.questions.large) > 0 && l.questions.spent[1].left(now, answerRate, answerBurst)
}

// appendAsks encodes questions and answers that are due.
func (c *answerer) appendAsks(now time.Duration, l *locked, body []byte) []byte {
	for _, a := range l.questions.asks[len(l.questions.asks)-l.questions.unasked:] {
		m := wire.Ask{Request: a.request, Key: a.key, CookieHash: a.cookie, State: a.state, Since: a.since, Held: a.held}
		body = m.Append(body)
	}
	l.questions.unasked = 0
	for n := 0; n < wire.FrameReplies && len(body) < frameBytes && l.replyDue(now); n++ {
		q := l.questions.replies[0]
		l.questions.replies = l.questions.replies[1:]
		m := wire.Reply{Request: q.Request}
		var size int
		if m.Encoded, size = c.answer(nil, now, &q, largeAnswer); size > largeAnswer {
			l.questions.large = append(l.questions.large, q)
			continue
		}
		if m.Refused = !c.spend(now, &q, size); m.Refused {
			m.Encoded = nil
		}
		before := len(body)
		body = m.Append(body)
		l.questions.spent[0].take(now, float64(len(body)-before), answerRate, answerBurst)
	}
	return body
}

// answerLarge answers one question on the bulk stream.
func (c *answerer) answerLarge(now time.Duration, l *locked) *wire.Repair {
	q := l.questions.large[0]
	l.questions.large = l.questions.large[1:]
	r := &wire.Sessions{Asks: []uint64{q.Request}}
	var size int
	if r.Encoded, size = c.answer(nil, now, &q, math.MaxInt); !c.spend(now, &q, size) {
		r.Encoded, r.Refused = nil, true
	}
	l.questions.spent[1].take(now, float64(len(r.Encoded)), answerRate, answerBurst)
	return &wire.Repair{Sessions: r}
}

// spend takes bytes from what may be answered of the session. False: nothing is left. What
// is hardly longer than the question is always answered.
func (c *answerer) spend(now time.Duration, q *wire.Ask, size int) bool {
	if size <= smallAnswer || c.answered.take(now, q.Key.Hash(c.cfg.Seed), float64(size), sessionRate, sessionBurst) {
		return true
	}
	c.stats.asks.refused.Add(1)
	return false
}

// answer encodes what a question's asker lacks of the session, unless that takes more
// than most bytes. It returns how many it takes; none: the session is not here. The
// question gets to know the session's key.
func (c *answerer) answer(body []byte, now time.Duration, q *wire.Ask, most int) (encoded []byte, size int) {
	if q.Key == (Key{}) {
		s := c.table.ByCookie(q.CookieHash)
		if s == nil {
			return body, 0
		}
		q.Key = s.Key
	}
	b := c.table.Lock(q.Key)
	defer b.Unlock()
	d, ok := b.DeadDelta(now, q.Key)
	if s := b.Session(q.Key); s != nil {
		d, ok = s.News(now, q.State, q.Since, q.Held, c.cfg.Self.Incarnation), true
	}
	if !ok {
		return body, 0
	}
	if size = wire.DeltaSize(&d, c.cfg.Self.Incarnation); size > most {
		return body, size
	}
	return wire.AppendDelta(body, 2, &d, c.cfg.Self.Incarnation), size
}

// questions takes the questions and answers of a frame. It reports whether
// answers are owed.
func (c *answerer) questions(now time.Duration, from *link, f *wire.Frame, late time.Duration) bool {
	for _, r := range f.Replies {
		if r.Delta != nil {
			c.applier.applyRaw(now, from, r.Delta, late, table.Asked)
		}
		l := from.lock()
		l.settleAsks(r.Request, r.Refused)
		l.unlock()
	}
	if len(f.Asks) == 0 {
		return false
	}
	l := from.lock()
	defer l.unlock()
	for _, a := range f.Asks {
		if len(l.questions.replies)+len(l.questions.large) < wire.MaxAsks {
			l.questions.replies = append(l.questions.replies, a)
		}
	}
	return true
}
