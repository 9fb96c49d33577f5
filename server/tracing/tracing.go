// Package tracing makes OpenTelemetry traces of requests, where the environment asks for it: a span
// at the balancer, one at the node, and one for each commit of a session. Which variables count, and
// what they mean, is OpenTelemetry's: OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER,
// OTEL_SERVICE_NAME and so on. Without an endpoint there is no tracer, and nothing is done for any
// request.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"
	api "go.opentelemetry.io/otel/trace"
)

// Tracer makes spans and sends them. Safe for concurrent use.
type Tracer struct {
	provider *trace.TracerProvider
	spans    api.Tracer
}

const scope = "github.com/nodeserver/nodeserver"

// Process says whose spans they are.
type Process struct {
	Service, Version string // service.name (OTEL_SERVICE_NAME goes before it), service.version
	Node             string // service.instance.id; empty: none
}

// New makes the tracer that the environment asks for; nil: it asks for none. Getenv is os.Getenv: the
// exporter reads the process's own environment.
func New(ctx context.Context, p Process, getenv func(string) string) (*Tracer, error) {
	if !asked(getenv) {
		return nil, nil //nolint:nilnil // no error, and nothing to do
	}
	for _, key := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if v := getenv(key); v != "" && v != "http/protobuf" {
			return nil, fmt.Errorf("%s: %q is not supported: traces are sent by http/protobuf (port 4318 at most collectors)", key, v)
		}
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	r, err := describe(ctx, p)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	provider := trace.NewTracerProvider(trace.WithBatcher(exporter), trace.WithResource(r))
	return &Tracer{provider: provider, spans: provider.Tracer(scope)}, nil
}

func asked(getenv func(string) string) bool {
	if getenv("OTEL_SDK_DISABLED") == "true" || getenv("OTEL_TRACES_EXPORTER") == "none" {
		return false
	}
	return getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != ""
}

func describe(ctx context.Context, p Process) (*resource.Resource, error) {
	own := []attribute.KeyValue{attribute.String("service.name", p.Service), attribute.String("service.version", p.Version)}
	if p.Node != "" {
		own = append(own, attribute.String("service.instance.id", p.Node))
	}
	return resource.New(ctx, resource.WithAttributes(own...), resource.WithFromEnv(), resource.WithTelemetrySDK())
}

// Stop sends what is left, for 2 s at most, and ends the tracer.
func (t *Tracer) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// Handler makes a span of each request that h serves, and writes it into the request's header
// traceparent (W3C Trace Context), so that whatever serves the request goes on from there. A span
// that a client names is the parent only if trusted says so of the request, else it is linked.
func (t *Tracer) Handler(h http.Handler, trusted func(*http.Request) bool) http.Handler {
	context := propagation.TraceContext{}
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
		h.ServeHTTP(w, r)
	})
	return otelhttp.NewHandler(named, "request",
		otelhttp.WithTracerProvider(t.provider),
		otelhttp.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelhttp.WithPropagators(context),
		otelhttp.WithPublicEndpointFn(func(r *http.Request) bool { return !trusted(r) }),
	)
}

// Sent notes at the request's span which node has answered, and how often the request was sent on.
func (t *Tracer) Sent(r *http.Request, node string, retries int) {
	api.SpanFromContext(r.Context()).SetAttributes(attribute.String("nodeserver.node", node), attribute.Int("nodeserver.retries", retries))
}

// Commit begins the span of a session's commit and returns its end, which notes how many members have
// acknowledged it, of how many that were asked. The span lasts until they have.
func (t *Tracer) Commit(ctx context.Context) func(applied, need int, err error) {
	_, span := t.spans.Start(ctx, "session commit")
	return func(applied, need int, err error) {
		span.SetAttributes(attribute.Int("nodeserver.acks.applied", applied), attribute.Int("nodeserver.acks.needed", need))
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}
