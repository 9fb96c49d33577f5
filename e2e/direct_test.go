package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// direct is a client without a balancer, as docs/LOAD-BALANCING.md tells it to be: it takes
// any of the addresses that its name server gives it, and the next one after a refused
// connection or an answer that says so.
type direct struct {
	addresses []string
	client    http.Client
	user      user

	refused, sent, waited int // why it has asked again
}

// inc sends a POST until it is answered, for half a minute at most.
func (d *direct) inc() (reply, error) {
	at := rand.IntN(len(d.addresses))
	for over := time.Now().Add(30 * time.Second); ; at++ {
		r, err := http.NewRequest(http.MethodPost, "http://"+d.addresses[at%len(d.addresses)]+"/bench/inc", strings.NewReader("x"))
		if err != nil {
			return reply{}, err
		}
		d.user.send(r)
		w, err := d.client.Do(r)
		if err != nil {
			if !strings.Contains(err.Error(), "connection refused") || time.Now().After(over) {
				return reply{}, err
			}
			d.refused++
			continue
		}
		text, err := io.ReadAll(w.Body)
		_ = w.Body.Close()
		if err != nil {
			return reply{}, err
		}
		d.user.keep(w.Cookies())
		switch {
		case w.StatusCode == http.StatusOK:
			return parse(string(text))
		case w.StatusCode != http.StatusServiceUnavailable || time.Now().After(over):
			return reply{}, fmt.Errorf("%s: %s", w.Status, text)
		case w.Header.Get("Nodeserver-Retry") == "next":
			d.sent++
		default:
			s, err := strconv.Atoi(w.Header.Get("Retry-After"))
			if err != nil {
				return reply{}, fmt.Errorf("%s without Retry-After: %s", w.Status, text)
			}
			d.waited++
			until(time.Now().Add(time.Duration(s) * time.Second))
		}
	}
}

// complete says what is missing for a node to see all three ready and in sync; changes may be
// on their way, as they are under load.
func complete(n *node) error {
	rows, err := n.members()
	if err != nil {
		return err
	}
	good := 0
	for _, r := range rows {
		if r.State == "alive" && r.Ready && (r.Self || r.InSync) {
			good++
		}
	}
	if good != 3 {
		return fmt.Errorf("%s sees %+v", n.name, rows)
	}
	return nil
}

// Clients that get all nodes' addresses from a name server and keep to the contract need no
// balancer: each request goes to some node, whichever, while nodes stop, start, and are
// frozen; none fails, no session is lost, and each user sees all that they have written.
func TestClientsWithoutFrontDoor(t *testing.T) {
	c := started(
		t,
		"replication.acks=one",
		"replication.on_ack_timeout=fail",
	) // else the last writes of a node that is frozen would be seen by nobody meanwhile
	var addresses []string
	for _, n := range c {
		addresses = append(addresses, n.http)
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	clients := make([]direct, 16)
	errs := make([]error, len(clients))
	counts := make([]int, len(clients))
	for i := range clients {
		d := &clients[i]
		d.addresses = addresses
		d.client = http.Client{Transport: &http.Transport{}, Timeout: 15 * time.Second}
		running.Go(func() {
			defer d.client.CloseIdleConnections()
			last := reply{}
			for {
				select {
				case <-stop:
					return
				default:
				}
				now, err := d.inc()
				switch {
				case err != nil:
				case last.sid != "" && (now.sid != last.sid || now.n <= last.n):
					// It may be more by two, where it was said of one that too few have it.
					err = fmt.Errorf("after %+v comes %+v", last, now)
				}
				if err != nil {
					errs[i] = fmt.Errorf("%s: %w", time.Now().Format("05.000"), err)
					return
				}
				last = now
				counts[i]++
			}
		})
	}
	for i := range 3 {
		n := c[i]
		until(time.Now().Add(500 * time.Millisecond))
		if i == 2 { // it has missed changes when it goes on, and says so until it has them
			n.signal(syscall.SIGSTOP)
			until(time.Now().Add(2500 * time.Millisecond))
			n.signal(syscall.SIGCONT)
		} else {
			n.signal(syscall.SIGTERM)
			t.Logf("%s: %s stops", time.Now().Format("05.000"), n.name)
			if code := n.exit(15 * time.Second); code != 0 {
				t.Errorf("%s: exit code %d", n.name, code)
			}
			n.start()
		}
		within(t, startLimit, "all ready, and none lacks anything", func() error { return all(c, complete) })
	}
	close(stop)
	running.Wait()
	total, refused, sent, waited := 0, 0, 0, 0
	for i := range clients {
		if errs[i] != nil {
			t.Errorf("client %d: %v", i, errs[i])
		}
		total, refused, sent, waited = total+counts[i], refused+clients[i].refused, sent+clients[i].sent, waited+clients[i].waited
	}
	t.Logf("%d POSTs; asked again: %d refused connections, %d sent to the next, %d told to wait", total, refused, sent, waited)
	if total == 0 || refused == 0 {
		t.Error("no request met a node that was stopped: the test sees nothing")
	}
}
