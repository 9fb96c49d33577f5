package balance

import (
	"sync"
	"time"
)

const (
	suspectTime = time.Minute
	maxSuspects = 1024 // paths remembered; beyond it the oldest go
	maxPath     = 256  // bytes of a path that are compared and logged
)

// suspects are the paths under which two nodes have just broken off, one after
// the other: whatever such a request does may have ended them, and would end the
// next one, too. Safe for concurrent use.
type suspects struct {
	mu    sync.Mutex
	until map[string]time.Time
	order []string // of until's keys, oldest first; a path that is renewed stays where it is
}

// add remembers the path for a minute. It reports whether that is news.
func (s *suspects) add(path string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, known := s.until[path]
	if s.until == nil {
		s.until = map[string]time.Time{}
	}
	if !known {
		if len(s.order) == maxSuspects {
			delete(s.until, s.order[0])
			s.order = s.order[1:]
		}
		s.order = append(s.order, path)
	}
	s.until[path] = now.Add(suspectTime)
	return now.After(old)
}

func (s *suspects) has(path string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.until[path])
}

// suspectPath is the path as suspects know it: it may be long, and holds no query.
func suspectPath(path string) string { return path[:min(len(path), maxPath)] }
