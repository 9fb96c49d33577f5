package cluster

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// Connections is a collector of what listeners, by name, hold open and refuse. The
// names of its metrics begin with the prefix.
func Connections(prefix string, listeners func() map[string]*listen.Listener) prometheus.Collector {
	return connections{
		listeners: listeners,
		open:      prometheus.NewDesc(prefix+"connections", "Connections that others have made.", []string{"listener"}, nil),
		refused: prometheus.NewDesc(prefix+"connections_refused_total",
			"Connections closed at once, since there were too many, by limit, or not accepted at all.", []string{"listener", "limit"}, nil),
	}
}

type connections struct {
	listeners     func() map[string]*listen.Listener
	open, refused *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c connections) Describe(ch chan<- *prometheus.Desc) { ch <- c.open; ch <- c.refused }

// Collect implements prometheus.Collector.
func (c connections) Collect(ch chan<- prometheus.Metric) {
	for name, l := range c.listeners() {
		s := l.Stats()
		ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(s.Open), name)
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(s.Failed), name, "not_accepted")
		for limit, n := range s.Refused {
			ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(n), name, limit)
		}
	}
}
