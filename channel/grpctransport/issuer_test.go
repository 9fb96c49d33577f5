package grpctransport

import (
	"bytes"
	"testing"
	"time"
)

// Two nodes derive the same CA, certificates are renewed well before they end, and clocks that are
// apart by half a day are no obstacle.
func TestIssuerRenews(t *testing.T) {
	t.Parallel()
	seed := Seed(bytes.Repeat([]byte("s"), 32))
	a, err := makeCA(seed)
	if err != nil {
		t.Fatal(err)
	}
	b, err := makeCA(seed)
	if err != nil {
		t.Fatal(err)
	}
	if !a.key.Equal(b.key) || !a.cert.Equal(b.cert) {
		t.Error("two nodes derived different CAs")
	}
	i := &issuer{ca: a, name: "node1"}
	now := time.Now()
	first, err := i.current(now)
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Leaf.Subject.CommonName; got != "node1" {
		t.Errorf("certificate proves %q", got)
	}
	if again, _ := i.current(now.Add(11 * time.Hour)); again != first {
		t.Error("renewed after 11 hours already")
	}
	renewed, err := i.current(now.Add(12*time.Hour + time.Second))
	if err != nil || renewed == first {
		t.Errorf("not renewed after 12 hours: %v", err)
	}
	for _, skew := range []time.Duration{-11 * time.Hour, 0, 11 * time.Hour} {
		at := now.Add(skew)
		if at.Before(first.Leaf.NotBefore) || at.After(first.Leaf.NotAfter) {
			t.Errorf("not valid for a clock that is %v off", skew)
		}
	}
}
