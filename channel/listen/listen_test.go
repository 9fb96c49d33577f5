package listen_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// far is a listener whose connections come from other machines, as far as they say.
type far struct {
	net.Listener
	from chan net.Conn
}

func (f far) Accept() (net.Conn, error) {
	c, ok := <-f.from
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// from is one of these connections.
type from struct {
	net.Conn
	addr net.TCPAddr
}

func (f from) RemoteAddr() net.Addr { return &f.addr }

// call makes a connection from an address, and returns the far end of it.
func (f far) call(t *testing.T, ip string) net.Conn {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { _ = here.Close(); _ = there.Close() })
	f.from <- from{here, net.TCPAddr{IP: net.ParseIP(ip), Port: 1234}}
	return there
}

// cut tells whether the other side has closed the connection.
func cut(c net.Conn) bool {
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	return errors.Is(err, io.EOF)
}

func accept(t *testing.T, l net.Listener) *listen.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return c.(*listen.Conn)
}

func TestConnectionsAreBounded(t *testing.T) {
	f := far{from: make(chan net.Conn, 10)}
	l := listen.New(f, listen.Limits{Total: 4, PerAddress: 2})
	a1, a2 := f.call(t, "192.0.2.1"), f.call(t, "192.0.2.1")
	one, two := accept(t, l), accept(t, l)
	a3, b1 := f.call(t, "192.0.2.1"), f.call(t, "2001:db8::1")
	accept(t, l)                      // b1
	b2 := f.call(t, "2001:db8::ffff") // of the same network
	accept(t, l)
	c1, self := f.call(t, "192.0.2.3"), f.call(t, "127.0.0.1") // in all there are as many as there may be
	_ = one.Close()
	d := f.call(t, "192.0.2.4")
	if l.Stats().Open != 3 {
		t.Errorf("%+v", l.Stats())
	}
	accept(t, l) // one of c1, self and d, in their order
	for name, c := range map[string]net.Conn{"a2": a2, "b1": b1, "b2": b2} {
		if cut(c) {
			t.Errorf("%s, within the limits, was closed", name)
		}
	}
	if !cut(a1) || !cut(a3) || cut(c1) {
		t.Error("not the connections over the limit were closed")
	}
	_ = two.Close()
	accept(t, l)
	if s := l.Stats(); s.Open != 4 || s.Refused[listen.OverPerAddress] != 1 {
		t.Errorf("%+v", s)
	}
	_, _ = self, d
}

// Connections of this machine's own have no limit of an address, whichever address it is.
func TestOwnConnectionsAreNotCountedByAddress(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"} {
		f := far{from: make(chan net.Conn, 10)}
		l := listen.New(f, listen.Limits{PerAddress: 1, UnprovenPerAddress: 1})
		first, second := f.call(t, ip), f.call(t, ip)
		accept(t, l)
		f.call(t, "192.0.2.1") // comes through, if the second is refused
		accept(t, l)
		if cut(first) || cut(second) || l.Stats().Open != 2 {
			t.Errorf("%s: a connection was closed: %+v", ip, l.Stats())
		}
	}
}

// However many connections say nothing, who proves to be no stranger at once gets in.
func TestOldestUnprovenGivesWay(t *testing.T) {
	f := far{from: make(chan net.Conn, 10)}
	refused := 0
	l := listen.New(f, listen.Limits{Unproven: 3, UnprovenPerAddress: 2, Refused: func(string, net.Addr) { refused++ }})
	first := f.call(t, "192.0.2.1")
	accept(t, l)
	member := f.call(t, "192.0.2.2")
	accept(t, l).Proven()
	var others []net.Conn
	for _, ip := range []string{"192.0.2.3", "192.0.2.4", "192.0.2.5"} {
		others = append(others, f.call(t, ip))
		accept(t, l)
	}
	if !cut(first) || cut(member) || cut(others[0]) || cut(others[2]) {
		t.Error("not the oldest unproven connection gave way")
	}
	f.call(t, "192.0.2.5")
	accept(t, l)
	third := f.call(t, "192.0.2.5")
	f.call(t, "127.0.0.1") // this machine's own
	accept(t, l)
	if !cut(third) {
		t.Error("a third unproven connection of one address stays")
	}
	s := l.Stats()
	if s.Unproven != 3 || s.Open != 4 || s.Refused[listen.OverUnproven] != 3 || s.Refused[listen.OverUnprovenPerAddress] != 1 ||
		refused != 4 {
		t.Errorf("%+v, called for %d", s, refused)
	}
}

// tcp is a listener's connection and the client at its other end.
func tcp(t *testing.T, limits listen.Limits) (*listen.Conn, net.Conn) {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := listen.New(nl, limits)
	t.Cleanup(func() { _ = l.Close() })
	client, err := net.Dial("tcp", nl.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	c := accept(t, l)
	t.Cleanup(func() { _ = c.Close() })
	return c, client
}

// A client that reads nothing is given up; one that reads slowly, but reads, is not.
func TestWritesThatStandStillEnd(t *testing.T) {
	const stall = 200 * time.Millisecond
	c, client := tcp(t, listen.Limits{Stall: stall})
	big := bytes.Repeat([]byte("x"), 32<<20)
	began := time.Now()
	_, err := c.Write(big)
	const text = "the other side has taken nothing for 200ms"
	if !errors.Is(err, os.ErrDeadlineExceeded) || !strings.Contains(err.Error(), text) || time.Since(began) < stall {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	_ = client.Close()

	c, client = tcp(t, listen.Limits{Stall: stall})
	read := make(chan int)
	go func() {
		n, buf := 0, make([]byte, 1<<20)
		for {
			m, err := client.Read(buf)
			if n += m; err != nil {
				read <- n
				return
			}
			<-time.After(5 * time.Millisecond) // slower than the stall time for all of it
		}
	}()
	if n, err := c.Write(big); n != len(big) || err != nil {
		t.Errorf("a slow reader got %d bytes: %v", n, err)
	}
	_ = c.Close()
	if n := <-read; n != len(big) {
		t.Errorf("read %d of %d bytes", n, len(big))
	}
}

// What the connection's user sets counts as well, and an idle connection is no fault.
func TestDeadlinesOfTheUser(t *testing.T) {
	const stall = 100 * time.Millisecond
	c, client := tcp(t, listen.Limits{Stall: stall})
	if err := c.SetWriteDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "other side") {
		t.Errorf("over the user's deadline: %v", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := c.Write([]byte("x")); err != nil {
			t.Errorf("after idle time: %v", err)
		}
		_ = client.SetReadDeadline(time.Now().Add(2 * stall))
		_, _ = io.ReadFull(client, make([]byte, 100)) // waits
	}
}

// Files and other readers go out whole.
func TestReadFrom(t *testing.T) {
	name := t.TempDir() + "/file"
	want := bytes.Repeat([]byte("0123456789"), 50_000)
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, stall := range []time.Duration{0, time.Minute} {
		for _, limit := range []int64{0, 300_001} {
			for _, file := range []bool{true, false} {
				f, err := os.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				c, client := tcp(t, listen.Limits{Stall: stall})
				var r io.Reader = f
				if !file {
					r = bytes.NewReader(want)
				}
				expect := int64(len(want))
				if limit > 0 {
					r, expect = io.LimitReader(r, limit), limit
				}
				got := make(chan []byte)
				go func() { b, _ := io.ReadAll(client); got <- b }()
				n, err := c.ReadFrom(r)
				_ = c.Close()
				if b := <-got; n != expect || err != nil || !bytes.Equal(b, want[:expect]) {
					t.Errorf("stall %v, limit %d, file %t: %d bytes, %v; %d arrived", stall, limit, file, n, err, len(b))
				}
				_ = f.Close()
			}
		}
	}
}

// Limits can be changed while connections are open, which stay.
func TestSetLimits(t *testing.T) {
	t.Parallel()
	f := far{from: make(chan net.Conn, 8)}
	l := listen.New(f, listen.Limits{Total: 1})
	a := f.call(t, "192.0.2.1")
	accept(t, l)
	l.SetLimits(3, 2)
	f.call(t, "192.0.2.1")
	accept(t, l)
	over := f.call(t, "192.0.2.1") // the third of this address
	f.call(t, "192.0.2.2")
	if c := accept(t, l); c.RemoteAddr().(*net.TCPAddr).IP.String() != "192.0.2.2" {
		t.Errorf("accepted %v", c.RemoteAddr())
	}
	if !cut(over) || cut(a) {
		t.Error("the limits of before are in force, or a connection of before is closed")
	}
}
