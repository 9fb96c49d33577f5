package plugins

import (
	"fmt"
	"runtime/debug"
	"time"
)

// PanicError is the error of an author's function that panicked.
type PanicError struct {
	What  string // the function: "its New function"
	Value any
	Stack []byte // as debug.Stack gives it
}

func (e *PanicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.What, e.Value) }

// Guard runs code of an app's author, which is called what in errors. A panic is a
// *PanicError, and an error is also what ends the goroutine without a return or takes
// longer than the limit. A goroutine that hangs can't be ended, and stays; what it
// returns after the limit is dropped.
func Guard[T any](limit time.Duration, what string, run func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		r := result{err: fmt.Errorf("%s ended its goroutine (runtime.Goexit)", what)}
		defer func() {
			if p := recover(); p != nil {
				r = result{err: &PanicError{what, p, debug.Stack()}}
			}
			done <- r
		}()
		r.value, r.err = run()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-timer.C:
		var none T
		return none, fmt.Errorf("%s has not returned after %s", what, limit)
	}
}
