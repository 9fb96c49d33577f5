package listen_test

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// A listener that is held refuses connections and keeps its port from others; released, it takes
// them.
func TestHeld(t *testing.T) {
	addr := free(t)
	l, release, err := listen.Held(t.Context(), addr)
	if err != nil || release == nil {
		t.Fatal(err, "not held")
	}
	defer l.Close()
	for range 3 {
		if _, err := net.Dial("tcp", addr); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("a dial: %v", err)
		}
	}
	if other, err := net.Listen("tcp", addr); err == nil {
		_ = other.Close()
		t.Fatal("another listener got the port")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	go echo(l)
	for range 3 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := talk(c); err != nil {
			t.Fatal(err)
		}
	}
}

// While clients come all the time, a listener is made quiet and closed, again and again: each
// client is either refused or served, and never cut off.
func TestQuietCutsNobodyOff(t *testing.T) {
	addr := free(t)
	var served, refused atomic.Int64
	var clients sync.WaitGroup
	client := func() {
		c, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNREFUSED) {
			refused.Add(1)
			return
		}
		if err == nil {
			err = talk(c)
		}
		if err != nil {
			t.Error(err)
			return
		}
		served.Add(1)
	}
	stop := make(chan struct{})
	clients.Go(func() {
		for tick := time.NewTicker(100 * time.Microsecond); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				clients.Go(client)
			}
		}
	})
	pause := time.NewTicker(time.Millisecond)
	defer pause.Stop()
	for range 20 {
		nl, err := listen.TCP(t.Context(), addr)
		if err != nil {
			t.Fatal(err)
		}
		l := listen.New(nl, listen.Limits{})
		done := make(chan struct{})
		go func() { echo(l); close(done) }()
		before := served.Load()
		for deadline := time.Now().Add(5 * time.Second); served.Load() < before+50 && time.Now().Before(deadline); {
			<-pause.C
		}
		l.Quiet(time.Second)
		_ = l.Close()
		<-done
	}
	close(stop)
	clients.Wait()
	if served.Load() < 1000 {
		t.Errorf("%d served, %d refused", served.Load(), refused.Load())
	}
}

// Quiet waits for the caller of Accept, which may be slow.
func TestQuietWaitsForTheCallerOfAccept(t *testing.T) {
	nl, err := listen.TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen.New(nl, listen.Limits{})
	defer func() { _ = l.Close() }()
	const clients = 3
	for range clients {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	var taken atomic.Int64
	ended := make(chan error)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			<-time.After(20 * time.Millisecond) // the system may give the processor to others for as long
			taken.Add(1)
			_ = c.Close()
		}
	}()
	l.Quiet(time.Minute)
	if n := taken.Load(); n != clients {
		t.Errorf("%d of %d connections were taken when Quiet returned", n, clients)
	}
	_ = l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// Quiet returns after its limit where nobody calls Accept.
func TestQuietHasALimit(t *testing.T) {
	nl, err := listen.TCP(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen.New(nl, listen.Limits{})
	begun := time.Now()
	l.Quiet(20 * time.Millisecond)
	if took := time.Since(begun); took < 20*time.Millisecond {
		t.Errorf("returned after %v", took)
	}
	_ = l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// echo answers each connection's one byte, on its own time.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, _ = io.CopyN(c, c, 1)
			_ = c.Close()
		}()
	}
}

func talk(c net.Conn) error {
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
