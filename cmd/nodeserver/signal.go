package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal does something that may take long and returns its exit code. The
// first SIGTERM or SIGINT ends its context. After a second one untilSignal
// returns while it still goes on: the process is to end.
func untilSignal(ctx context.Context, stderr io.Writer, do func(context.Context) int) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan int, 1)
	go func() { done <- do(ctx) }()
	for told := false; ; told = true {
		select {
		case code := <-done:
			return code
		case sig := <-signals:
			if told {
				put(stderr, "nodeserver: %s, the second signal: ended at once, in no order\n", sig)
				return exitNot
			}
			cancel(fmt.Errorf("signal: %s", sig))
		}
	}
}
