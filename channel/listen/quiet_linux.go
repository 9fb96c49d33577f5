package listen

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// noneBegin is a filter for a listening socket: the system drops each segment that begins a
// connection, one with SYN and without ACK (RFC 9293 section 3.5). Connections that have begun are
// still made. They inherit the filter, which has no effect on them.
func noneBegin() (*unix.SockFprog, error) {
	const flags, syn, ack = 13, 0x02, 0x10 // the filter sees segments from the TCP header on
	program, err := bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: flags, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: syn | ack},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: syn, SkipTrue: 1},
		bpf.RetConstant{Val: 1 << 18}, // all of it
		bpf.RetConstant{Val: 0},
	})
	if err != nil {
		return nil, err
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	return &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}, nil
}

func turnAway(fd int) error {
	filter, err := noneBegin()
	if err != nil {
		return err
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter)
}

// waiting is how many connections are made and not accepted yet.
func waiting(l net.Listener) (n int) {
	_ = control(l, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.SOL_TCP, unix.TCP_INFO)
		if err == nil {
			n = int(info.Unacked) // of a listener: the length of its queue
		}
		return err
	})
	return n
}

// Held is a listener at an address, host:port, that keeps the port from other processes but refuses
// connections, as if nothing listened, until release is called. Accept fails meanwhile. Where the
// system can't do that, or chooses the port, release is nil and the listener takes connections at
// once.
func Held(ctx context.Context, addr string) (l net.Listener, release func() error, err error) {
	if _, port, _ := net.SplitHostPort(addr); port == "0" || port == "" {
		l, err = TCP(ctx, addr)
		return l, nil, err
	}
	filtered := false
	l, err = tcp(func(_, _ string, raw syscall.RawConn) error {
		return raw.Control(func(fd uintptr) { filtered = turnAway(int(fd)) == nil })
	}).Listen(ctx, "tcp", addr)
	if err != nil || !filtered {
		return l, nil, err
	}
	// A shutdown makes a listening socket one that is merely bound.
	err = control(l, func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0), // another process could bind the port with it
			unix.Shutdown(fd, unix.SHUT_RDWR),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0),
		)
	})
	if err != nil {
		_ = l.Close() // never used
		return nil, nil, err
	}
	return l, func() error {
		return control(l, func(fd int) error {
			// Connections of a process before this one may still be about to end.
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
				return err
			}
			return unix.Listen(fd, most)
		})
	}, nil
}

// most connections may wait to be accepted: as many as the system allows, which is less
// (net.core.somaxconn).
const most = 1<<16 - 1

// control has f do something to the socket of the listener.
func control(l net.Listener, f func(fd int) error) error {
	sc, ok := l.(syscall.Conn)
	if !ok {
		return errors.ErrUnsupported
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = f(int(fd)) })
	return errors.Join(err, failed)
}

// Quiet ends the listener's work without a loss: no new connection is made, and Quiet returns when
// the caller of Accept has taken all earlier ones and calls it again, or after the limit. Closing a
// listener resets the connections that wait to be accepted, and with them requests that their
// clients may not send again. Accept returns no more after that but at Close.
func (l *Listener) Quiet(limit time.Duration) {
	if control(l.Listener, turnAway) != nil {
		return
	}
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for empty := 0; ; {
		if empty++; waiting(l.Listener) > 0 {
			empty = 0
		}
		if empty > 2 && l.halted(ctx) {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// halted has Accept halt, and lets it go on if a connection came meanwhile. What interrupts Accept
// is a deadline.
func (l *Listener) halted(ctx context.Context) bool {
	raw, ok := l.Listener.(interface{ SetDeadline(t time.Time) error })
	if !ok {
		return true
	}
	p := &pause{reached: make(chan struct{}), over: make(chan struct{})}
	l.setPause(p)
	_ = raw.SetDeadline(time.Unix(0, 1)) // fails on a closed listener only
	select {
	case <-p.reached:
		if waiting(l.Listener) == 0 {
			return true
		}
	case <-ctx.Done():
	}
	_ = raw.SetDeadline(time.Time{}) // same
	l.setPause(nil)
	return false
}
