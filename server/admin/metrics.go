package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/membership"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/deploy"
)

// metric is one that a node serves. Parts count on their own, and are only asked when somebody looks.
type metric struct {
	name   string // after nodeserver_; that of a counter ends in _total
	help   string
	labels []string
	read   func(s *sample, value func(v float64, labels ...string))
}

// sample is what the metrics of one answer are made of.
type sample struct {
	admin *admin
	apps  []appSample
}

type appSample struct {
	name  string
	place *deploy.Place
	deltamanager.Stats
}

func (a *admin) sample() *sample {
	s := &sample{admin: a}
	for p := range a.apps.Each() {
		s.apps = append(s.apps, appSample{name: p.Name(), place: p, Stats: p.Manager().Stats()})
	}
	return s
}

// byApp makes a read of one number of each app.
func byApp[N int | int64](number func(appSample) N) func(*sample, func(float64, ...string)) {
	return func(s *sample, value func(float64, ...string)) {
		for _, app := range s.apps {
			value(float64(number(app)), app.name)
		}
	}
}

// byKind makes a read of several numbers of each app, by name.
func byKind(numbers func(appSample) map[string]int64) func(*sample, func(float64, ...string)) {
	return func(s *sample, value func(float64, ...string)) {
		for _, app := range s.apps {
			for kind, n := range numbers(app) {
				value(float64(n), app.name, kind)
			}
		}
	}
}

// byLink makes a read of one number for each app and member.
func byLink(number func(deltamanager.LinkStats) float64) func(*sample, func(float64, ...string)) {
	return func(s *sample, value func(float64, ...string)) {
		for _, app := range s.apps {
			seen := map[string]bool{}
			for _, l := range app.Links {
				if !seen[l.ID.Name] { // two lives of one name may be known for a moment
					seen[l.ID.Name] = true
					value(number(l), app.name, l.ID.Name)
				}
			}
		}
	}
}

// single makes a read of one number of the node.
func single(number func(*admin) float64) func(*sample, func(float64, ...string)) {
	return func(s *sample, value func(float64, ...string)) { value(number(s.admin)) }
}

// metrics collects the table.
type metrics struct {
	admin *admin
	descs []*prometheus.Desc // of table, and that of the histogram
}

// requestSeconds is the one metric that is a histogram.
const requestSeconds = "nodeserver_http_request_duration_seconds"

// newMetrics answers with all metrics in Prometheus' format.
func newMetrics(a *admin) http.Handler {
	m := &metrics{admin: a}
	for _, t := range table {
		m.descs = append(m.descs, prometheus.NewDesc("nodeserver_"+t.name, t.help, t.labels, nil))
	}
	m.descs = append(m.descs, prometheus.NewDesc(requestSeconds,
		"Time from a request's head to the end of its handler and commit, by class of status.", []string{"app", "method", "code"}, nil))
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		m, cluster.Connections("nodeserver_", a.node.Listeners), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector(),
	)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.admin.sample()
	for i, t := range table {
		kind := prometheus.GaugeValue
		if counter(t.name) {
			kind = prometheus.CounterValue
		}
		t.read(s, func(v float64, labels ...string) { ch <- prometheus.MustNewConstMetric(m.descs[i], kind, v, labels...) })
	}
	for _, app := range s.apps {
		for _, l := range app.place.Latencies() {
			ch <- prometheus.MustNewConstHistogram(
				m.descs[len(table)], l.Count, l.Sum.Seconds(), l.Within, app.name, l.Method, l.Class,
			)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// states counts the members by state. A planned end is no outage: it has a word of its own.
func states(s *sample, value func(float64, ...string)) {
	count := map[string]int{"alive": 0, "suspect": 0, "gone": 0, "left": 0}
	for _, m := range s.admin.node.Members() {
		if m.State == membership.Gone && m.Left {
			count["left"]++
		} else {
			count[m.State.String()]++
		}
	}
	for state, n := range count {
		value(float64(n), state)
	}
}
