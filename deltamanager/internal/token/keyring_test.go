package token

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/deltamanager/internal/table"
)

// Two that meet take the older key and believe the other one for a while, and nobody
// can push out the first one.
func TestKeyringsAgree(t *testing.T) {
	first := func(r *Ring) AgreedKey { k, _ := r.Announced(0); return k }
	// Both at once: each hears of the other's key at the same moment.
	x, y, z := AgreedKey{1, Key{1}}, AgreedKey{1, Key{2}}, AgreedKey{1, Key{3}}
	var left, right, third Ring
	for r, k := range map[*Ring]AgreedKey{&left: x, &right: y, &third: z} {
		r.agree, r.set = true, new(atomic.Pointer[keySet])
		r.set.Store(&keySet{keys: []AgreedKey{k}})
	}
	left.Learn(0, y, Key{})
	right.Learn(0, x, Key{})
	if first(&left) != x || first(&right) != x || len(right.set.Load().keys) != 2 {
		t.Error("two nodes that begin at once do not agree")
	}
	k, former := right.Announced(time.Second)
	third.Learn(time.Second, k, former)
	if keys := third.set.Load().keys; keys[0] != x || len(keys) != 3 {
		t.Error("a third node does not learn the key that the second one has given up a second ago")
	}
	if _, former = right.Announced(time.Minute); former != (Key{}) {
		t.Error("a key is told for ever")
	}
	for n := range 100 {
		left.Learn(0, AgreedKey{uint64(5 + n), Key{9, byte(n)}}, Key{})
	}
	if first(&left) != x || len(left.set.Load().keys) != maxAgreed {
		t.Error("a hundred newcomers change the key")
	}
	left.Learn(0, AgreedKey{}, Key{})
	if first(&left) != x {
		t.Error("no key is taken for a key")
	}
}

func BenchmarkTokenMAC(b *testing.B) {
	k := Key{1}
	for _, name := range []string{"n1", "node-three.node-four"} {
		b.Run(fmt.Sprint(len(name)), func(b *testing.B) {
			b.ReportAllocs()
			for n := range b.N {
				k.mac(table.CookieHash{1}, table.Stamp{Clock: uint64(n), Incarnation: 7}, name)
			}
		})
	}
}
