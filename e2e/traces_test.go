package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	v1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
)

// span is one that a collector has got.
type span struct {
	trace, id, parent, name, service string
	attributes                       map[string]string
	links                            int
}

// collected runs a collector of traces, OTLP over HTTP, and returns what it has got so far.
func collected(t *testing.T) (url string, spans func() []span) {
	t.Helper()
	var mu sync.Mutex
	var all []span
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m collector.ExportTraceServiceRequest
		if err := proto.Unmarshal(body, &m); err != nil {
			t.Errorf("%s: %v", r.URL, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, of := range m.GetResourceSpans() {
			service := attributes(of.GetResource().GetAttributes())["service.name"]
			for _, scope := range of.GetScopeSpans() {
				for _, o := range scope.GetSpans() {
					all = append(all, span{
						hex.EncodeToString(o.GetTraceId()), hex.EncodeToString(o.GetSpanId()), hex.EncodeToString(o.GetParentSpanId()),
						o.GetName(), service, attributes(o.GetAttributes()), len(o.GetLinks()),
					})
				}
			}
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() []span {
		mu.Lock()
		defer mu.Unlock()
		return append([]span{}, all...)
	}
}

func attributes(list []*v1.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		if v, ok := a.GetValue().GetValue().(*v1.AnyValue_IntValue); ok {
			m[a.GetKey()] = fmt.Sprint(v.IntValue)
		} else {
			m[a.GetKey()] = a.GetValue().GetStringValue()
		}
	}
	return m
}

// A request can be followed from the balancer to the node, to the commit and its acknowledgements; a
// trace that a trusted proxy has begun goes on, and a stranger's is only linked.
func TestTraces(t *testing.T) {
	url, spans := collected(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "100") // ms
	for _, c := range []struct{ name, trusted, trace string }{
		{"trusted proxy", "127.0.0.0/8", "4bf92f3577b34da6a3ce929d0e0e4736"},
		{"stranger", "192.0.2.1/32", "4bf92f3577b34da6a3ce929d0e0e4737"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := door(t, started(t, "replication.acks=all", "http.trusted_proxies=127.0.0.0/8"), "http.trusted_proxies="+c.trusted)
			r, err := http.NewRequest(http.MethodGet, "http://"+d.http+"/bench/inc", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Traceparent", "00-"+c.trace+"-00f067aa0ba902b7-01")
			w, err := d.client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = w.Body.Close()
			within(t, startLimit, "the spans of the request", func() error { return follow(spans(), c.trace, c.name == "trusted proxy") })
		})
	}
}

// follow looks for the way of a request among the spans.
func follow(all []span, trace string, parent bool) error {
	for _, commit := range all {
		if commit.name != "session commit" {
			continue
		}
		node, ok := find(all, commit.trace, commit.parent)
		if !ok {
			continue
		}
		door, ok := find(all, node.trace, node.parent)
		switch {
		case !ok || door.service != "nodeserver-balance" || node.service != "nodeserver" || (door.trace == trace) != parent:
			continue
		case !parent && door.links != 1, parent && door.parent != "00f067aa0ba902b7":
			continue
		case commit.attributes["nodeserver.acks.applied"] != "2" || commit.attributes["nodeserver.acks.needed"] != "2":
			return fmt.Errorf("the commit's acknowledgements: %v", commit.attributes)
		case door.attributes["nodeserver.retries"] != "0" || door.attributes["nodeserver.node"] == "":
			return fmt.Errorf("the balancer's span: %v", door.attributes)
		}
		return nil
	}
	return fmt.Errorf("no commit whose node and balancer are known, among %d spans: %v", len(all), all)
}

func find(all []span, trace, id string) (span, bool) {
	for _, s := range all {
		if s.trace == trace && s.id == id {
			return s, true
		}
	}
	return span{}, false
}
