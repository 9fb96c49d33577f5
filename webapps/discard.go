package webapps

import (
	"net/http"
	"runtime"
)

// Discard says that what the request has changed in its session, and what it changes
// afterwards, is not to be committed: for a handler or a middleware that finds out late that
// the request has failed. The answer goes out as the handler writes it. What was committed
// before stays: by Session.Commit, or because the answer's head had gone out. A Commit after
// Discard returns ErrDiscarded, and a session that the request has made is none.
//
// A panic needs no Discard if it reaches the node, or if the middleware that recovers it
// answers 5xx from the deferred function that recovers, as chi's Recoverer, gin's Recovery
// and gorilla's RecoveryHandler do: then the request's changes are discarded, too.
//
// It panics for a request that no node serves, as SessionOf does, and does nothing for one
// that is over. It may be called from any goroutine of the handler.
func Discard(r *http.Request) {
	s, ok := sourceOf(r)
	if !ok {
		panic(noSourceText)
	}
	s.Discard()
}

// Recovering tells whether the caller runs in a function that a panic has deferred, be the
// panic recovered already or not. Hosts of apps ask when an answer of 5xx begins; it walks
// the stack, so it is not for each request.
func Recovering() bool {
	var pcs [64]uintptr
	for skip := 2; ; skip += len(pcs) {
		n := runtime.Callers(skip, pcs[:])
		if n == 0 {
			return false
		}
		frames := runtime.CallersFrames(pcs[:n])
		for more := true; more; {
			var f runtime.Frame
			if f, more = frames.Next(); f.Function == "runtime.gopanic" {
				return true
			}
		}
	}
}
