package tracing_test

import (
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/server/tracing"
)

// What the environment asks for, and what it asks for in vain.
func TestWhatTheEnvironmentAsksFor(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, c := range []struct {
		name  string
		env   map[string]string
		made  bool
		wrong string
	}{
		{"nothing", nil, false, ""},
		{"an endpoint", map[string]string{endpoint: "http://127.0.0.1:4318"}, true, ""},
		{"one for traces", map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, true, ""},
		{"no traces", map[string]string{endpoint: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"}, false, ""},
		{"nothing at all", map[string]string{endpoint: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "true"}, false, ""},
		{
			"gRPC",
			map[string]string{endpoint: "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
			false,
			`OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" is not supported: traces are sent by http/protobuf`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := tracing.Process{Service: "nodeserver", Version: "v1", Node: "n1"}
			got, err := tracing.New(t.Context(), p, func(key string) string { return c.env[key] })
			if (got != nil) != c.made || (err != nil) != (c.wrong != "") || err != nil && !strings.HasPrefix(err.Error(), c.wrong) {
				t.Fatalf("a tracer: %v, error %v", got != nil, err)
			}
			if got != nil {
				if err := got.Stop(); err != nil { // it has nothing to send
					t.Error(err)
				}
			}
		})
	}
}
