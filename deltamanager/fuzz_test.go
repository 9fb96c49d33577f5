package deltamanager_test

import (
	"bytes"
	"testing"
	"time"
)

// payloads gives the fuzzer what members really say to each other.
func payloads(f *testing.F) {
	f.Helper()
	c := newCluster(f, 2)
	c.create(0, 1)
	c.run(time.Second)
	for range 20 {
		c.write(0, cookieHash(1), "a", "value")
		c.now += 50 * time.Millisecond
		for i, core := range c.cores {
			core.Tick(c.now)
			for _, bulk := range [...]bool{false, true} {
				if p := core.Pull(c.now, c.ids[1-i], bulk); p != nil {
					f.Add(p)
				}
			}
		}
	}
	f.Add(bytes.Repeat([]byte{0x52, 0}, 5000))
	f.Add(bytes.Repeat([]byte{0x5a, 2, 8, 1}, 3000))
}

// FuzzReceive gives a whole core what an authenticated member may send.
func FuzzReceive(f *testing.F) {
	payloads(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newCluster(t, 2)
		c.create(0, 1)
		for _, bulk := range [...]bool{false, true} {
			_ = c.cores[0].Receive(c.now, c.ids[1], bulk, b)
			c.cores[0].Tick(c.now)
			for range 20 {
				if c.cores[0].Pull(c.now, c.ids[1], bulk) == nil {
					break
				}
			}
		}
	})
}
