package admin

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nodeserver/nodeserver/deltamanager"
	"github.com/nodeserver/nodeserver/server/cluster"
	"github.com/nodeserver/nodeserver/server/deploy"
)

// metrics shows the parts' Stats in Prometheus's format: they count on their
// own, and are only asked when somebody looks.
type metrics struct {
	admin    *admin
	registry *prometheus.Registry

	draining, inFlight                                            *prometheus.Desc
	members, ready, requests, panics, lost, refused, hasty, stale *prometheus.Desc
	sessions, newcomers, tombstones                               *prometheus.Desc
	events                                                        *prometheus.Desc
	deltas, bytes, frames                                         *prometheus.Desc
	queue, memberReady                                            *prometheus.Desc
	repairs, repaired, repairBytes                                *prometheus.Desc
	trouble, appUp                                                *prometheus.Desc
	found, providerUp                                             *prometheus.Desc
}

func newMetrics(a *admin) *metrics {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("nodeserver_"+name, help, labels, nil)
	}
	m := &metrics{
		admin:    a,
		registry: prometheus.NewRegistry(),
		members:  d("members", "Members this node knows, itself included, by state.", "state"),
		ready:    d("ready", "1 when this node serves requests."),
		draining: d("draining", "1 when this node gives its users away: an operator asked for it, or it is about to stop."),
		inFlight: d("http_requests_in_flight", "Requests of users that are being served."),
		requests: d("http_requests_total", "Requests taken by the HTTP listener."),
		panics:   d("http_panics_total", "Handlers that panicked.", "app"),
		lost: d(
			"session_lost_writes_total",
			"Requests whose writes were void because the session had ended elsewhere meanwhile.",
			"app",
		),
		stale: d(
			"session_stale_total",
			"Requests served though a write that their user had seen could not be had: its node is gone.",
			"app",
		),
		refused: d("session_refused_total", "Sessions not made because the node holds as many as sessions.max_sessions allows.", "app"),
		hasty: d(
			"session_rate_limited_total",
			"Sessions not made because their client's address began as many as sessions.new_per_address allows.",
			"app",
		),
		sessions:    d("sessions", "Sessions on this node.", "app"),
		newcomers:   d("sessions_new", "Sessions on this node whose cookie never came back.", "app"),
		tombstones:  d("session_tombstones", "Invalidated sessions that are remembered.", "app"),
		events:      d("session_events_total", "What happened to sessions.", "app", "event"),
		deltas:      d("replication_deltas_total", "Deltas, by direction.", "app", "direction"),
		bytes:       d("replication_bytes_total", "Bytes of live payloads, by direction.", "app", "direction"),
		frames:      d("replication_frames_total", "Live payloads, by direction.", "app", "direction"),
		queue:       d("replication_queue_depth", "Changes that a member has not acknowledged.", "app", "member"),
		memberReady: d("replication_in_sync", "1 when nothing is known to be missing here of what the member has.", "app", "member"),
		repairs:     d("repairs_total", "Comparisons with a member that were completed.", "app"),
		repaired:    d("repaired_sessions_total", "Sessions that a repair changed here.", "app"),
		repairBytes: d("repair_bytes_total", "Bytes sent for repairs.", "app"),
		found: d(
			"membership_answers_total",
			"What a way to find members brought: addresses proposed, answers refused, rounds that went wrong.",
			"provider", "kind",
		),
		providerUp: d("membership_provider_up", "1 when this way to find members works.", "provider"),
		appUp:      d("app_up", "1 when the app is served, 0 when it could not be loaded or started, or was stopped.", "app"),
		trouble:    d("replication_trouble_total", "What should not happen often.", "app", "kind"),
	}
	m.registry.MustRegister(
		m, cluster.Connections("nodeserver_", a.node.Listeners), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewBuildInfoCollector(),
	)
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	states := map[string]int{"alive": 0, "suspect": 0}
	for _, s := range m.admin.node.Members() {
		states[s.State.String()]++
	}
	for state, n := range states {
		gauge(m.members, float64(n), state)
	}
	gauge(m.ready, number(m.admin.node.Ready()))
	gauge(m.draining, number(m.admin.node.Draining()))
	gauge(m.inFlight, float64(m.admin.node.InFlight()))
	count(m.requests, m.admin.node.Requests())
	for _, p := range m.admin.providerRows() {
		gauge(m.providerUp, number(p.Problem == ""), p.Name)
		for kind, n := range map[string]uint64{"proposed": p.Answers, "refused": p.Refused, "error": p.Errors} {
			count(m.found, int64(n), p.Name, kind)
		}
	}
	for name, up := range m.admin.apps.States() {
		gauge(m.appUp, number(up), name)
	}
	for p := range m.admin.apps.Each() {
		m.collectApp(p, p.Manager().Stats(), gauge, count)
	}
}

func (m *metrics) collectApp(
	p *deploy.Place,
	s deltamanager.Stats,
	gauge func(*prometheus.Desc, float64, ...string),
	count func(*prometheus.Desc, int64, ...string),
) {
	app := p.Name()
	gauge(m.sessions, float64(s.Sessions), app)
	gauge(m.newcomers, float64(s.Newcomers), app)
	gauge(m.tombstones, float64(s.Tombstones), app)
	requests := p.Counts()
	count(m.panics, requests.Panics, app)
	count(m.lost, requests.Lost, app)
	count(m.refused, requests.Refused, app)
	count(m.hasty, requests.Hasty, app)
	count(m.stale, requests.Stale, app)
	for event, n := range map[string]int64{
		"created": s.Created, "committed": s.Commits, "invalidated": s.Invalidated, "expired": s.Expired, "evicted": s.Evicted,
		"tombstone_evicted": s.TombstonesEvicted,
	} {
		count(m.events, n, app, event)
	}
	count(m.deltas, s.DeltasIn, app, "in")
	count(m.deltas, s.DeltasOut, app, "out")
	count(m.bytes, s.BytesIn, app, "in")
	count(m.bytes, s.BytesOut, app, "out")
	count(m.frames, s.FramesIn, app, "in")
	count(m.frames, s.FramesOut, app, "out")
	count(m.repairs, s.Repairs, app)
	count(m.repaired, s.Repaired, app)
	count(m.repairBytes, s.RepairBytesOut, app)
	for kind, n := range map[string]int64{
		"overflow": s.Overflows, "resend": s.Resends, "malformed": s.Malformed, "far_ahead": s.FarAhead, "pause": s.Pauses,
		"unacked": s.Unacked, "token_refused": s.TokensRefused, "question_refused": s.AsksRefused,
	} {
		count(m.trouble, n, app, kind)
	}
	seen := map[string]bool{}
	for _, l := range s.Links {
		if !seen[l.ID.Name] { // two incarnations of one name may be known for a moment
			seen[l.ID.Name] = true
			gauge(m.queue, float64(l.Queue), app, l.ID.Name)
			gauge(m.memberReady, number(l.Repaired), app, l.ID.Name)
		}
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
