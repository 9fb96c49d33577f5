package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/admin"
)

func TestAppsTable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := now.Add(-time.Minute)
	var b strings.Builder
	cart := admin.AppRow{
		Name: "cart", Path: "/cart/", State: "serving", Version: "1.2", Revision: "0123456789abcdef", Hash: "fedcba9876543210",
		Origin: "/srv/cart.so", Since: now.Add(-90 * time.Second), Sessions: 7, InFlight: 1, Oldest: 2.5,
	}
	older := cart
	older.Revision, older.Hash, older.InFlight = "aaaabbbbcccc", "", 0
	err := printApps(&b, admin.ClusterReply{Nodes: []admin.NodeRow{
		{Name: "n1", Report: &admin.NodeReport{Apps: []admin.AppRow{
			cart,
			{
				Name: "shop", Path: "/shop/", State: "serving", Origin: "compiled in", Since: now,
				Problem: &admin.Problem{At: &at, Reason: "too bad:\nreally"},
			},
			{Name: "bad", State: "down", Origin: "/srv/bad.so", Problem: &admin.Problem{Reason: "no luck"}},
		}}},
		{Name: "n2", Report: &admin.NodeReport{Apps: []admin.AppRow{older}}},
		{Name: "n3", Problem: "no answer within 1s"},
	}}, now)
	const want = `APP   NODE  PATH    STATE    VERSION  REVISION      HASH          SINCE  SESSIONS  IN FLIGHT  OLDEST  FROM
bad   n1    -       down     -        -             -             -      0         0          -       /srv/bad.so
cart  n1    /cart/  serving  1.2      0123456789ab  fedcba987654  1m30s  7         1          2.5s    catalog
cart  n2    /cart/  serving  1.2      aaaabbbbcccc  -             1m30s  7         0          -       /srv/cart.so
shop  n1    /shop/  serving  -        -             -             0s     0         0          -       compiled in

bad is not served by n1: no luck

shop was not redeployed at n1 at 11:59:00, the revision before serves: too bad:
  really

cart: nodes serve different revisions: 0123456789ab at n1; aaaabbbbcccc at n2

n3: no answer within 1s
`
	if err != nil || b.String() != want {
		t.Errorf("%v\n%s\nwant\n%s", err, b.String(), want)
	}
	b.Reset()
	if code, _, stderr := nodeserver(t, nil, "apps", "list", "--admin", "127.0.0.1:1"); code != exitNot ||
		!strings.Contains(stderr, "127.0.0.1:1") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
