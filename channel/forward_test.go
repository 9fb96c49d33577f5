package channel_test

import (
	"io"
	"net"
	"testing"
)

// forward makes a listener a second address of another one.
func forward(t *testing.T, cl *cluster, lis net.Listener, to string) {
	t.Helper()
	t.Cleanup(func() { lis.Close() })
	dial := cl.net.Dialer("forwarder")
	go func() {
		for {
			in, err := lis.Accept()
			if err != nil {
				return
			}
			out, err := dial(t.Context(), to)
			if err != nil {
				in.Close()
				continue
			}
			for _, p := range [2][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(p[0], p[1])
					_ = p[0].Close()
				}()
			}
		}
	}()
}
