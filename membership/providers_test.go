package membership

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// proposals runs a provider inside a bubble, calls each step, which lets time pass, with the
// addresses proposed since the one before, and returns what Run returned.
func proposals(t *testing.T, p Provider, steps ...func(got []string)) error {
	t.Helper()
	var mu sync.Mutex
	var got []string
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, func(c Candidate) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, c.Address)
		})
	}()
	for _, step := range steps {
		synctest.Wait()
		mu.Lock()
		now := got
		got = nil
		mu.Unlock()
		step(now)
	}
	cancel()
	return <-done
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("proposed %q, want %q", got, want)
	}
}

func TestStaticProposesAtOnceAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		given := []string{"10.0.0.1:4001", "node2:4001"}
		s := NewStatic(given)
		given[0] = "changed later"
		err := proposals(t, s,
			func(got []string) {
				expect(t, got, "10.0.0.1:4001", "node2:4001")
				<-time.After(proposeAgain)
			},
			func(got []string) { expect(t, got, "10.0.0.1:4001", "node2:4001") },
		)
		if want := (Stats{Queries: 2, Answers: 4}); err != nil || s.Stats() != want {
			t.Errorf("run: %v, stats %+v, want %+v", err, s.Stats(), want)
		}
	})
}

func TestStaticNamesAllThatIsWrong(t *testing.T) {
	err := NewStatic([]string{"node1", "node2:4001", "node3:0"}).Run(t.Context(), func(c Candidate) { t.Errorf("proposed %v", c) })
	want := `membership.static: "node1" is not host:port (like 10.0.0.1:4001)` + "\n" + `membership.static: "node3:0": port must be 1–65535`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestFileIsWatched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "members")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# members\n10.0.0.1:4001\n\n  node2:4001 # the second\r\n")
	synctest.Test(t, func(t *testing.T) {
		log := new(bytes.Buffer)
		f := NewFile(path, slog.New(slog.NewTextHandler(log, nil)))
		err := proposals(t, f,
			func(got []string) {
				expect(t, got, "10.0.0.1:4001", "node2:4001")
				write("10.0.0.3:4001")
				<-time.After(fileLook)
			},
			func(got []string) {
				expect(t, got, "10.0.0.3:4001")
				write("10.0.0.4:4001\nnonsense\n")
				<-time.After(fileLook)
			},
			func(got []string) { // as it was, and logged
				expect(t, got, "10.0.0.3:4001")
				if p := f.Stats().Problem; p != path+`:2: "nonsense" is not host:port (like 10.0.0.1:4001)` {
					t.Errorf("problem %q", p)
				}
				if err := os.Remove(path); err != nil {
					t.Error(err)
				}
				<-time.After(fileLook)
			},
			func(got []string) {
				expect(t, got, "10.0.0.3:4001")
				if p := f.Stats().Problem; !strings.Contains(p, "no such file") {
					t.Errorf("problem %q", p)
				}
				write("10.0.0.5:4001\n")
				<-time.After(fileLook)
			},
			func(got []string) {
				expect(t, got, "10.0.0.5:4001")
				if s := f.Stats(); s.Problem != "" || s.Errors != 2 {
					t.Errorf("stats %+v", s)
				}
			},
		)
		if err != nil {
			t.Error(err)
		}
		if s := log.String(); strings.Count(s, "level=WARN") != 2 || strings.Count(s, "level=INFO") != 1 {
			t.Errorf("each change is to be logged once, got\n%s", s)
		}
	})
}

func TestFileMustBeWellAtTheStart(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("# one\nnode1\nnode2:99999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "missing")
	for path, want := range map[string]string{
		missing: "membership.file: stat " + missing + ": no such file or directory",
		bad:     bad + `:2: "node1" is not host:port (like 10.0.0.1:4001)` + "\n" + bad + `:3: "node2:99999": port must be 1–65535`,
		big:     "membership.file " + big + ": 1048577 bytes, at most 1048576 are read",
	} {
		err := NewFile(path, slog.New(slog.DiscardHandler)).Run(t.Context(), func(c Candidate) { t.Errorf("proposed %v", c) })
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// nameServer is a real one for the zone nodes.test., on loopback.
func nameServer(t *testing.T) *net.Resolver {
	t.Helper()
	records := map[string][]string{
		"nodes.test. A":    {"nodes.test. 1 IN A 10.0.0.1", "nodes.test. 1 IN A 10.0.0.2"},
		"nodes.test. AAAA": {"nodes.test. 1 IN AAAA 2001:db8::1"},
		"_channel._tcp.nodes.test. SRV": {
			"_channel._tcp.nodes.test. 1 IN SRV 1 1 4001 n1.nodes.test.",
			"_channel._tcp.nodes.test. 1 IN SRV 2 1 4002 n2.nodes.test.",
		},
		"_zero._tcp.nodes.test. SRV": {
			"_zero._tcp.nodes.test. 1 IN SRV 1 1 0 n1.nodes.test.",
			"_zero._tcp.nodes.test. 1 IN SRV 2 1 4002 n2.nodes.test.",
		},
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up := make(chan struct{})
	srv := &dns.Server{PacketConn: pc, NotifyStartedFunc: func() { close(up) }}
	srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		for _, s := range records[strings.ToLower(q.Question[0].Name)+" "+dns.TypeToString[q.Question[0].Qtype]] {
			rr, err := dns.NewRR(s)
			if err != nil {
				t.Error(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		if len(m.Answer) == 0 {
			m.Rcode = dns.RcodeNameError
		}
		if err := w.WriteMsg(m); err != nil {
			t.Error(err)
		}
	})
	done := make(chan error, 1)
	go func() { done <- srv.ActivateAndServe() }()
	<-up
	t.Cleanup(func() {
		if err := srv.Shutdown(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", pc.LocalAddr().String())
	}}
}

func TestDNS(t *testing.T) {
	r := nameServer(t)
	for _, tc := range []struct {
		name    string
		want    []string
		problem string // part of it
	}{
		{"nodes.test.:4001", []string{"10.0.0.1:4001", "10.0.0.2:4001", "[2001:db8::1]:4001"}, ""},
		{"_channel._tcp.nodes.test.", []string{"n1.nodes.test:4001", "n2.nodes.test:4002"}, ""},
		{"_zero._tcp.nodes.test.", []string{"n2.nodes.test:4002"}, `SRV _zero._tcp.nodes.test.: "n1.nodes.test:0": port must be 1–65535`},
		{"nobody.test.:4001", nil, "look up members at nobody.test.: "},
		{"_nobody._tcp.nodes.test.", nil, "look up members at SRV _nobody._tcp.nodes.test.: "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := NewDNS(tc.name, r, slog.New(slog.DiscardHandler))
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			var n atomic.Int32
			got := make(chan string, 10)
			go func() {
				done <- d.Run(ctx, func(c Candidate) { n.Add(1); got <- c.Address })
			}()
			within(
				t, 4*time.Second,
				func() bool { return d.Stats().Queries == 1 && int(n.Load()) >= len(tc.want) },
				func() any { return d.Stats() },
			)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			close(got)
			list := slices.Sorted(func(yield func(string) bool) {
				for a := range got {
					if !yield(a) {
						return
					}
				}
			})
			expect(t, list, tc.want...)
			if s := d.Stats(); s.Empty != strings.Contains(tc.problem, "nobody") {
				t.Errorf("nobody there: %v, though %s", s.Empty, s.Problem)
			}
			if p := d.Stats().Problem; tc.problem == "" && p != "" || !strings.HasPrefix(p, tc.problem) {
				t.Errorf("problem %q, want %q", p, tc.problem)
			}
		})
	}
}

func TestDNSRefusesANameThatIsNone(t *testing.T) {
	err := NewDNS("nodes.test", nil, slog.New(slog.DiscardHandler)).Run(t.Context(), func(c Candidate) { t.Errorf("proposed %v", c) })
	want := `membership.dns_name: "nodes.test" is not host:port (like 10.0.0.1:4001), ` +
		"nor the name of SRV records (like _channel._tcp.nodes.example)"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

// What can't work is still among the providers, with its reason.
func TestBrokenIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Broken("mdns", ErrNoMulticast)
		err := proposals(t, b, func(got []string) { expect(t, got) })
		if s := b.Stats(); err != nil || b.Name() != "mdns" || s.Problem != "no multicast" || s.Empty {
			t.Errorf("run: %v, %s, %+v", err, b.Name(), s)
		}
	})
}
