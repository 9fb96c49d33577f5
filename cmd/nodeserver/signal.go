package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// asOne is how close two SIGTERM are that count as one: GNU timeout, for one, signals
// the process and then its group.
const asOne = time.Second

// untilSignal does something that may take long and returns its exit code. The
// first SIGTERM or SIGINT ends its context. After a second one untilSignal
// returns while it still goes on: the process is to end. A SIGTERM within a second
// of the first SIGTERM is no second one.
func untilSignal(ctx context.Context, stderr io.Writer, do func(context.Context) int) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan int, 1)
	go func() { done <- do(ctx) }()
	var first os.Signal
	var at time.Time
	for {
		select {
		case code := <-done:
			return code
		case sig := <-signals:
			switch {
			case first == nil:
				first, at = sig, time.Now()
				cancel(fmt.Errorf("signal: %s", sig))
			case sig == syscall.SIGTERM && first == sig && time.Since(at) < asOne:
			default:
				put(stderr, "nodeserver: %s, the second signal: ended at once, in no order\n", sig)
				return exitNot
			}
		}
	}
}

// outlive keeps signals from ending a daemon that have another meaning for daemons, or none. At
// SIGHUP it reads the configuration anew, at SIGUSR1 it opens the log's file anew. SIGPIPE, of a log
// that nobody reads any more, is not even logged, since that would bring the next one. Call the
// function that it returns when the daemon has ended.
func outlive(log *slog.Logger, reload, reopen func() error) (done func()) {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1)
	pipe := make(chan os.Signal, 1) // never read
	signal.Notify(pipe, syscall.SIGPIPE)
	var acting sync.WaitGroup
	acting.Go(func() {
		for sig := range signals {
			act := reload
			if sig == syscall.SIGUSR1 {
				act = reopen
			}
			if err := act(); err != nil {
				log.Error("nothing was changed", "signal", sig.String(), "err", err)
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(signals)
		acting.Wait()
		signal.Stop(pipe) // last: what went before may have logged
	}
}
