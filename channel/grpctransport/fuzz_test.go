package grpctransport

import (
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/nodeserver/nodeserver/channel"
	"github.com/nodeserver/nodeserver/membership"
	channelv1 "github.com/nodeserver/nodeserver/proto/channel/v1"
)

// A hello is the first thing that a peer sends. Whatever bytes come, reading them never panics, and
// a hello that was read is written and read as the same.
func FuzzHello(f *testing.F) {
	self := membership.Member{
		ID: membership.ID{Name: "n1", Incarnation: 1}, ChannelAddress: "127.0.0.1:7001", HTTPAddress: "127.0.0.1:8001",
		Apps: []string{"cart"}, Domain: "a", Version: "v1", Paths: map[string]string{"cart": "/kart/"}, HTTPS: true,
	}
	seed, err := proto.Marshal(toMessage(channel.Message{Hello: &channel.Hello{
		Cluster: "shop", WireMin: 1, WireMax: 2, Self: self, Known: []membership.Member{self, {}},
	}}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)/2])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var in, again channelv1.ExchangeRequest
		if proto.Unmarshal(b, &in) != nil {
			return
		}
		m := fromMessage(&in)
		if m.Hello == nil {
			return
		}
		written, err := proto.Marshal(toMessage(m))
		if err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(written, &again); err != nil {
			t.Fatal(err)
		}
		if got := fromMessage(&again); !reflect.DeepEqual(got, m) {
			t.Errorf("read %+v, then %+v", *m.Hello, got)
		}
	})
}
