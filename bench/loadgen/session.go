package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// errAnswer is an answer that is not what the endpoint promises.
var errAnswer = errors.New("answer is not SID N NODE")

// noSID is what a server says that makes a session's id only after the handler.
const noSID = "new"

// reply is an answer taken apart.
type reply struct {
	sid  string
	n    int
	node string
	size int // of the blob, where the answer has it; else 0
}

func parse(body []byte) (r reply, err error) {
	f := bytes.Fields(body)
	if len(f) < 3 {
		return r, fmt.Errorf("%w: %.80q", errAnswer, body)
	}
	if r.n, err = strconv.Atoi(string(f[1])); err != nil {
		return r, fmt.Errorf("%w: %.80q", errAnswer, body)
	}
	if len(f) > 3 {
		if r.size, err = strconv.Atoi(string(f[3])); err != nil {
			return r, fmt.Errorf("%w: %.80q", errAnswer, body)
		}
	}
	r.sid, r.node = string(f[0]), string(f[2])
	return r, nil
}

// session is one user, and what he has been told so far.
type session struct {
	jar   jar
	sid   string
	count int // last count read
	acked int // increments that were answered
	size  int // of the blob; -1: none
	node  string
}

// verdict is what an answer shows of the server's memory.
type verdict struct {
	stale bool // lower than what was told before
	ahead bool // higher than what can be
	lost  bool // another session
	by    int  // how far too low
}

// incremented compares an answer to inc with what the session expects.
func (s *session) incremented(r reply) (v verdict) {
	s.acked++
	if r.sid == noSID {
		r.sid = ""
	}
	v.lost = s.sid != "" && r.sid != s.sid
	if want := s.count + 1; !v.lost {
		v.stale, v.ahead, v.by = r.n < want, r.n > want, max(0, want-r.n)
	} else {
		v.by = s.count
	}
	s.sid, s.count, s.node = r.sid, r.n, r.node
	return v
}

// read compares an answer to get with what the session holds.
func (s *session) read(r reply) (v verdict) {
	v.lost = r.n < 0 || s.sid != "" && r.sid != s.sid
	if !v.lost {
		v.stale, v.ahead = r.n < s.count || r.size != s.size, r.n > s.count
		s.sid = r.sid
	}
	return v
}

// written notes an answer to set.
func (s *session) written(r reply) (v verdict) {
	if r.sid == noSID {
		r.sid = ""
	}
	v.lost = s.sid != "" && r.sid != s.sid
	s.sid, s.size, s.node = r.sid, r.n, r.node
	return v
}
