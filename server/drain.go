package server

import (
	"errors"
	"time"
)

var errStopping = errors.New("the node is about to stop: that can't be taken back")

// setDraining has the node's users go to other nodes, or lets them come back: /readyz answers
// 503 meanwhile, balancers and members hear of it, and the node stays a member that answers
// what reaches it. Members compare themselves with it at once, so that they have all of it.
func (s *Server) setDraining(on bool) error {
	s.announcing.Lock()
	defer s.announcing.Unlock()
	if !s.drain.Ask(on) {
		return errStopping
	}
	s.channel.SetDraining(on)
	if !on {
		s.drained.Store(0)
		s.log.Info("no longer draining: users may come", "event", "undrain")
		return nil
	}
	s.drained.CompareAndSwap(0, time.Now().UnixNano())
	s.apps.HandOver()
	s.log.Info("draining: users go to other nodes until the node stops, or an operator undrains it", "event", "draining")
	return nil
}

// beginToStop announces the node's end.
func (s *Server) beginToStop() {
	s.announcing.Lock()
	defer s.announcing.Unlock()
	s.drain.Begin()
	s.ready.Store(false)
	s.channel.SetDraining(true)
	s.channel.SetReady(false)
}

// inFlight is how many requests of users are being served.
func (s *Server) inFlight() int64 {
	answered := s.answered.Load() // first: a request that ends in between must not count as less than none
	return s.requests.Load() - answered
}

// drainedSince is when an operator asked the node to drain; the zero time: nobody has.
func (s *Server) drainedSince() time.Time {
	if ns := s.drained.Load(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}
