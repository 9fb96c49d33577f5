package servertest

import (
	"net"
	"testing"
)

// Cutting a life ends what it has accepted and dialled, and nothing else.
func TestCut(t *testing.T) {
	one, two := born("one"), born("two")
	listen := func(l *life) net.Listener {
		at := ""
		ln, err := listen(&at)
		if err != nil {
			t.Fatal(err)
		}
		return l.listen(ln)
	}
	l1, l2 := listen(one), listen(two)
	defer l1.Close()
	defer l2.Close()
	pair := func(from *life, to net.Listener) (dialled, taken net.Conn) {
		dialled, err := from.dial(t.Context(), to.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if taken, err = to.Accept(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _, _ = dialled.Close(), taken.Close() })
		return dialled, taken
	}
	_, in := pair(two, l1)
	out, _ := pair(one, l2)
	_, other := pair(two, l2)
	one.cut()
	for _, c := range []net.Conn{in, out} {
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("the dead speaks")
		}
	}
	if _, err := other.Write([]byte("x")); err != nil {
		t.Errorf("another's connection was cut: %v", err)
	}
	if _, err := one.dial(t.Context(), l2.Addr().String()); err == nil {
		t.Error("the dead dials")
	}
	if _, err := two.dial(t.Context(), l1.Addr().String()); err == nil {
		t.Error("the dead listens")
	}
}
