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
	err := printApps(&b, admin.AppsReply{Apps: []admin.AppRow{
		{
			Name:     "cart",
			Path:     "/cart/",
			State:    "serving",
			Version:  "1.2",
			Revision: "0123456789abcdef",
			Origin:   "/srv/cart.so",
			Since:    now.Add(-90 * time.Second),
			Sessions: 7,
			InFlight: 1,
		},
		{
			Name:    "shop",
			Path:    "/shop/",
			State:   "serving",
			Origin:  "compiled in",
			Since:   now,
			Problem: &admin.Problem{At: &at, Reason: "too bad:\nreally"},
		},
		{Name: "bad", State: "down", Origin: "/srv/bad.so", Problem: &admin.Problem{Reason: "no luck"}},
	}}, now)
	const want = `APP   PATH    STATE    VERSION  REVISION      SINCE  SESSIONS  IN FLIGHT  FROM
cart  /cart/  serving  1.2      0123456789ab  1m30s  7         1          /srv/cart.so
shop  /shop/  serving  -        -             0s     0         0          compiled in
bad   -       down     -        -             -      0         0          /srv/bad.so

shop was not redeployed at 11:59:00, the revision before serves: too bad:
  really

bad is not served: no luck
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
