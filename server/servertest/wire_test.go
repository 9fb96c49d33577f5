package servertest

import (
	"io"
	"net"
	"testing"
)

// accepted dials the listener, says hello, and returns both ends.
func accepted(t *testing.T, ln net.Listener, hello string) (dialled, taken net.Conn) {
	t.Helper()
	dialled, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialled.Close() })
	if taken, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	if _, err := io.WriteString(dialled, hello); err != nil {
		t.Fatal(err)
	}
	return dialled, taken
}

// Cutting a life ends what others have accepted from it, and only that.
func TestCutTellsWhoseConnectionItIs(t *testing.T) {
	w := &wires{}
	one, two, three := w.born("token-one"), w.born("token-two"), w.born("token-three")
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln := w.listener(one, raw, true)
	defer ln.Close()
	hello := func(c net.Conn) (string, error) {
		b := make([]byte, 64)
		n, err := c.Read(b)
		return string(b[:n]), err
	}
	_, fromTwo := accepted(t, ln, "hello of token-two, who knows token-three and token-one")
	_, fromThree := accepted(t, ln, "hello of token-three, who knows token-two")
	for _, c := range []net.Conn{fromTwo, fromThree} {
		if _, err := hello(c); err != nil {
			t.Fatal(err)
		}
	}
	w.cut(two)
	if _, err := fromTwo.Write([]byte("x")); err == nil {
		t.Error("a connection from the dead goes on")
	}
	if _, err := fromThree.Write([]byte("x")); err != nil {
		t.Errorf("another's was cut: %v", err)
	}
	_, again := accepted(t, ln, "hello of token-two, again")
	if got, err := hello(again); err == nil {
		t.Errorf("the dead is heard: %q", got)
	}
	dialled, _ := accepted(t, ln, "somebody else")
	w.cut(one)
	if n, _ := dialled.Read(make([]byte, 1)); n != 0 {
		t.Error("the dead speaks to those who dialled it")
	}
	if c, err := net.Dial("tcp", raw.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("the dead still listens")
	}
	if len(three.conns) != 0 {
		t.Errorf("%d connections are still kept for one whose only one was cut", len(three.conns))
	}
}
