package balance

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodeserver/nodeserver/channel/listen"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/operators"
)

// metrics shows what the balancer counts in Prometheus's format. Its labels
// are names of nodes, which members vouch for, and words of this package.
type metrics struct {
	balancer *Balancer
	registry *prometheus.Registry
	answers  *prometheus.CounterVec
	latency  *prometheus.HistogramVec

	requests, retries, withheld, moved, nodes, downs, queued, refused, providers *prometheus.Desc
}

func newMetrics(b *Balancer) *metrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("nodeserver_balancer_"+name, help, labels, nil)
	}
	m := &metrics{
		balancer: b,
		registry: prometheus.NewRegistry(),
		answers: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nodeserver_balancer_answers_total", Help: "Answers by node, none for the balancer's own, and class of status.",
		}, []string{"node", "code"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nodeserver_balancer_node_seconds", Help: "From a request to a node until its answer began, of those that it answered.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}, []string{"node"}),
		requests: d("requests_total", "Requests that came."),
		retries:  d("retries_total", "Requests that were sent on to another node, by reason.", "reason"),
		withheld: d(
			"not_repeated_total",
			"Requests whose connection to a node broke and that were not sent to another, by reason.",
			"reason",
		),
		moved:     d("moved_requests_total", "Requests answered by another node than their cookie names.", "from", "to"),
		nodes:     d("nodes", "Nodes known, by what they are used for: full, keep, spare; doubt and down before others.", "use"),
		providers: d("membership_provider_up", "1 when this way to find members works.", "provider"),
		queued:    d("queued_requests", "Requests that wait, since the nodes have as many as they may."),
		refused:   d("refused_requests_total", "Requests answered 503, since the nodes had as many as they may."),
		downs:     d("nodes_down_total", "Times that a node was marked down."),
	}
	listeners := func() map[string]*listen.Listener {
		if bounds := b.bounds.Load(); bounds != nil {
			return *bounds
		}
		return nil
	}
	m.registry.MustRegister(
		m, cluster.Connections("nodeserver_balancer_", listeners), m.answers, m.latency,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return m
}

// answered notes an answer; node is empty for the balancer's own.
func (m *metrics) answered(node string, status int, took time.Duration) {
	m.answers.WithLabelValues(node, strconv.Itoa(status/100)+"xx").Inc()
	if node != "" {
		m.latency.WithLabelValues(node).Observe(took.Seconds())
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.requests, m.retries, m.withheld, m.moved, m.nodes, m.downs, m.queued, m.refused, m.providers} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	s := m.balancer.Stats()
	count(m.requests, s.Requests)
	count(m.downs, s.Downs)
	count(m.refused, s.Full)
	ch <- prometheus.MustNewConstMetric(m.queued, prometheus.GaugeValue, float64(m.balancer.pool.queued()))
	for _, reason := range []string{RetryDial, RetryBroken, RetryDoubt, RetryNext, RetryOwn} {
		count(m.retries, s.Retries[reason], reason) // those that have not happened, too
	}
	for reason, n := range s.Withheld {
		count(m.withheld, n, reason)
	}
	for _, r := range s.Rehomed {
		count(m.moved, r.Requests, r.From, r.To)
	}
	if source, ok := m.balancer.source.(*Members); ok {
		for name, works := range source.works() {
			ch <- prometheus.MustNewConstMetric(m.providers, prometheus.GaugeValue, map[bool]float64{true: 1}[works], name)
		}
	}
	for use, n := range m.balancer.pool.uses() {
		ch <- prometheus.MustNewConstMetric(m.nodes, prometheus.GaugeValue, float64(n), use)
	}
}

// answerProbe tells whether requests may be sent to this balancer: a node takes new users, and
// the balancer is not about to stop.
func (b *Balancer) answerProbe(w http.ResponseWriter) {
	b.drain.Probed()
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case b.drain.Begun():
		http.Error(w, "draining", http.StatusServiceUnavailable)
	case b.pool.uses()["full"] == 0:
		http.Error(w, "no node takes new users", http.StatusServiceUnavailable)
	default:
		fmt.Fprintln(w, "ready")
	}
}

// routes are what operators find: /livez, /readyz (a node takes new users) and /metrics.
func (b *Balancer) routes() []operators.Route {
	livez := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }
	return []operators.Route{
		{Method: "GET", Path: "/livez", Role: operators.Anyone, Handler: livez},
		{
			Method: "GET", Path: "/readyz", Role: operators.Anyone,
			Handler: func(w http.ResponseWriter, _ *http.Request) { b.answerProbe(w) },
		},
		{
			Method: "GET", Path: "/metrics", Role: operators.Viewer,
			Handler: promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP,
		},
	}
}
