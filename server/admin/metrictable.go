package admin

import (
	"strings"

	"github.com/nodeserver/nodeserver/deltamanager"
)

// counter tells whether a metric of this name only grows, by Prometheus' rules for names.
func counter(name string) bool { return strings.HasSuffix(name, "_total") }

// Labels of metrics.
var (
	ofApp       = []string{"app"}
	ofMember    = []string{"app", "member"}
	ofDirection = []string{"app", "direction"}
)

// table is every metric of a node but the histogram of its requests, those of listeners, and those
// of Go and the process.
var table = []metric{
	{"build_info", "1, by version of nodeserver.", []string{"version"}, func(s *sample, value func(float64, ...string)) {
		value(1, s.admin.cfg.Version)
	}},
	{"members", "Members this node knows, itself included, by state; left: gone in order.", []string{"state"}, states},
	{"ready", "1 when this node serves requests.", nil, single(func(a *admin) float64 { return number(a.node.Ready()) })},
	{
		"draining", "1 when this node gives its users away: an operator asked for it, or it is about to stop.", nil,
		single(func(a *admin) float64 { return number(a.node.Draining()) }),
	},
	{
		"http_requests_in_flight", "Requests of users that are being served.", nil,
		single(func(a *admin) float64 { return float64(a.node.InFlight()) }),
	},
	{
		"http_requests_total", "Requests taken by the HTTP listener.", nil,
		single(func(a *admin) float64 { return float64(a.node.Requests()) }),
	},
	{"http_panics_total", "Handlers that panicked.", ofApp, byApp(func(s appSample) int64 { return s.place.Counts().Panics })},
	{
		"session_lost_writes_total", "Requests whose writes were void because the session had ended elsewhere meanwhile.", ofApp,
		byApp(func(s appSample) int64 { return s.place.Counts().Lost }),
	},
	{
		"session_stale_total", "Requests served though a write that their user had seen could not be had: its node is gone.", ofApp,
		byApp(func(s appSample) int64 { return s.place.Counts().Stale }),
	},
	{
		"session_refused_total", "Sessions not made because the node holds as many as sessions.max_sessions allows.", ofApp,
		byApp(func(s appSample) int64 { return s.place.Counts().Refused }),
	},
	{
		"session_rate_limited_total", "Sessions not made because their client's address began as many as sessions.new_per_address allows.",
		ofApp, byApp(func(s appSample) int64 { return s.place.Counts().Hasty }),
	},
	{"sessions", "Sessions on this node.", ofApp, byApp(func(s appSample) int64 { return s.Sessions })},
	{"sessions_new", "Sessions on this node whose cookie never came back.", ofApp, byApp(func(s appSample) int64 { return s.Newcomers })},
	{"session_tombstones", "Invalidated sessions that are remembered.", ofApp, byApp(func(s appSample) int64 { return s.Tombstones })},
	{"session_events_total", "What happened to sessions.", []string{"app", "event"}, byKind(func(s appSample) map[string]int64 {
		return map[string]int64{
			"created": s.Created, "committed": s.Commits, "invalidated": s.Invalidated, "expired": s.Expired, "evicted": s.Evicted,
			"tombstone_evicted": s.TombstonesEvicted,
		}
	})},
	{"replication_deltas_total", "Deltas, by direction.", ofDirection, byKind(func(s appSample) map[string]int64 {
		return map[string]int64{"in": s.DeltasIn, "out": s.DeltasOut}
	})},
	{"replication_bytes_total", "Bytes of live payloads, by direction.", ofDirection, byKind(func(s appSample) map[string]int64 {
		return map[string]int64{"in": s.BytesIn, "out": s.BytesOut}
	})},
	{"replication_frames_total", "Live payloads, by direction.", ofDirection, byKind(func(s appSample) map[string]int64 {
		return map[string]int64{"in": s.FramesIn, "out": s.FramesOut}
	})},
	{
		"replication_queue_depth", "Changes that a member has not acknowledged.", ofMember,
		byLink(func(l deltamanager.LinkStats) float64 { return float64(l.Queue) }),
	},
	{
		"replication_lag_seconds", "How long the oldest change that a member has not acknowledged has waited, within 50 ms.", ofMember,
		byLink(func(l deltamanager.LinkStats) float64 { return l.Behind.Seconds() }),
	},
	{
		"replication_in_sync", "1 when nothing of the member's is known to be missing here, and it is less than 2 s behind.", ofMember,
		byLink(func(l deltamanager.LinkStats) float64 { return number(inSync(l)) }),
	},
	{"repairs_total", "Comparisons with a member that were completed.", ofApp, byApp(func(s appSample) int64 { return s.Repairs })},
	{"repaired_sessions_total", "Sessions that a repair changed here.", ofApp, byApp(func(s appSample) int64 { return s.Repaired })},
	{"repair_bytes_total", "Bytes sent for repairs.", ofApp, byApp(func(s appSample) int64 { return s.RepairBytesOut })},
	{"replication_trouble_total", "What should not happen often.", []string{"app", "kind"}, byKind(func(s appSample) map[string]int64 {
		return map[string]int64{
			"overflow": s.Overflows, "resend": s.Resends, "malformed": s.Malformed, "far_ahead": s.FarAhead, "pause": s.Pauses,
			"unacked": s.Unacked, "token_refused": s.TokensRefused, "question_refused": s.AsksRefused,
		}
	})},
	{
		"app_up", "1 when the app is served, 0 when it could not be loaded or started, or was stopped.", ofApp,
		func(s *sample, value func(float64, ...string)) {
			for name, up := range s.admin.apps.States() {
				value(number(up), name)
			}
		},
	},
	{
		"membership_provider_up", "1 when this way to find members works.",
		[]string{"provider"},
		func(s *sample, value func(float64, ...string)) {
			for _, p := range s.admin.providerRows() {
				value(number(p.Problem == ""), p.Name)
			}
		},
	},
	{
		"membership_answers_total",
		"What a way to find members brought: addresses proposed, answers refused, rounds that went wrong.",
		[]string{"provider", "kind"},
		func(s *sample, value func(float64, ...string)) {
			for _, p := range s.admin.providerRows() {
				for kind, n := range map[string]uint64{"proposed": p.Answers, "refused": p.Refused, "error": p.Errors} {
					value(float64(n), p.Name, kind)
				}
			}
		},
	},
}
