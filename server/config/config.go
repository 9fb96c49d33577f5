// Package config is the configuration of a node and of a balancer, as plain values. Package
// conf reads them from a file; each part of the node is given its own.
package config

import "time"

// Config is the configuration of a node, as package conf reads it from a file:
// field tags are the keys of DESIGN's public contract. Durations and sizes are
// already parsed, relative paths already resolved; every default is already in.
type Config struct {
	Node        Node        `conf:"node"`
	HTTP        HTTP        `conf:"http"`
	Admin       Admin       `conf:"admin"`
	Cluster     Cluster     `conf:"cluster"`
	Channel     Channel     `conf:"channel"`
	Membership  Membership  `conf:"membership"`
	Sessions    Sessions    `conf:"sessions"`
	Replication Replication `conf:"replication"`
	Webapps     Webapps     `conf:"webapps"`
	Apps        []App       `conf:"app"`
	Balance     Balance     `conf:"balance"`
	Log         Log         `conf:"log"`
}

// Node identifies the node.
type Node struct {
	Name    string `conf:"name"`     // unique in the cluster, also the route in cookies
	DataDir string `conf:"data_dir"` // what the node keeps between starts; empty: nothing
}

// HTTP is the listener for users.
type HTTP struct {
	Address           string        `conf:"address"`
	TLSCert           string        `conf:"tls_cert"` // PEM file; with TLSKey: HTTPS
	TLSKey            string        `conf:"tls_key"`
	ReadHeaderTimeout time.Duration `conf:"read_header_timeout"`
	IdleTimeout       time.Duration `conf:"idle_timeout"`
	MaxHeaderBytes    int           `conf:"max_header_bytes"`
	MaxBodyBytes      int           `conf:"max_body_bytes"` // 0: no limit
	DrainNotice       time.Duration `conf:"drain_notice"`   // from saying that it stops to closing connections; 0: none
	ShutdownGrace     time.Duration `conf:"shutdown_grace"` // for requests in flight when the node stops

	// StallTimeout ends answers that the client does not take and bodies that do not come; 0: none.
	StallTimeout             time.Duration `conf:"stall_timeout"`
	MaxConnections           int           `conf:"max_connections"`             // 0: three quarters of the descriptors
	MaxConnectionsPerAddress int           `conf:"max_connections_per_address"` // 0: half of MaxConnections

	TrustedProxies []string `conf:"trusted_proxies"` // networks whose word on their users counts, see package forward

	ProxyProtocol ProxyProtocol `conf:"proxy_protocol"` // of TrustedProxies

	AccessLog AccessLog `conf:"access_log"` // on stdout

	ExposeNode bool `conf:"expose_node"` // header Nodeserver-Node on each response

	Cookie Cookie `conf:"cookie"`
}

// Cookie is the attributes of session cookies in browsers, and of those that belong to them.
type Cookie struct {
	SameSite SameSite      `conf:"same_site"`
	Domain   string        `conf:"domain"`  // empty: the host that gave the cookie
	MaxAge   time.Duration `conf:"max_age"` // 0: until the browser ends
	Secure   Secure        `conf:"secure"`
}

// Admin is the listener for operators.
type Admin struct {
	Address    string   `conf:"address"`
	TokensFile string   `conf:"tokens_file"` // see package operators; required unless Address is loopback
	TokenFile  string   `conf:"token_file"`  // one operator's bearer token; the same
	Hosts      []string `conf:"hosts"`       // by which requests may come, besides addresses and the machine's names
	PProf      bool     `conf:"pprof"`       // /debug/pprof/, for operators
	Console    bool     `conf:"console"`     // pages for browsers at /
	TLSCert    string   `conf:"tls_cert"`    // PEM file; with TLSKey: HTTPS
	TLSKey     string   `conf:"tls_key"`
}

// Cluster says which cluster the node belongs to.
type Cluster struct {
	Name       string `conf:"name"`
	Domain     string `conf:"domain"`
	SecretFile string `conf:"secret_file"` // see package keys; empty: loopback only
}

// Channel is the members' way to each other.
type Channel struct {
	Address          string        `conf:"address"`
	Advertise        string        `conf:"advertise"` // host:port others dial; empty: Address
	TLSCA            string        `conf:"tls_ca"`    // own PKI instead of the secret
	TLSCert          string        `conf:"tls_cert"`
	TLSKey           string        `conf:"tls_key"`
	TLSAllowed       []string      `conf:"tls_allowed"`        // names in members' certificates, see grpctransport.ParseAllowed
	Insecure         bool          `conf:"insecure"`           // no TLS on a trusted network
	ChangeLogEntries int           `conf:"change_log_entries"` // per member; beyond it repair takes over
	Heartbeat        time.Duration `conf:"heartbeat"`
	SuspectAfter     time.Duration `conf:"suspect_after"`
	DownAfter        time.Duration `conf:"down_after"` // from the last sign of life to gone, at most
}

// Membership says how members are found.
type Membership struct {
	Providers    []Provider    `conf:"providers"`
	Interface    string        `conf:"interface"` // for mdns; empty: the one that holds the channel's address
	MDNSInterval time.Duration `conf:"mdns_interval"`
	Static       []string      `conf:"static"` // host:port of channels
	DNSName      string        `conf:"dns_name"`
	File         string        `conf:"file"`
	Expect       int           `conf:"expect"` // members there before the node is ready; 0: however many there are
}

// Sessions is about sessions and their cookie.
type Sessions struct {
	CookieName       string        `conf:"cookie_name"`
	MaxInactive      time.Duration `conf:"max_inactive"`
	FirstInactive    time.Duration `conf:"first_inactive"` // until the cookie has come back; 0: MaxInactive
	AbsoluteLifetime time.Duration `conf:"absolute_lifetime"`
	MaxSessions      int           `conf:"max_sessions"`    // per app and node; 0: from the memory, -1: no limit
	NewPerAddress    int           `conf:"new_per_address"` // per app, node and minute; 0: no limit
	MaxSessionBytes  int           `conf:"max_session_bytes"`
	Freshness        Freshness     `conf:"freshness"`
	FreshnessWait    time.Duration `conf:"freshness_wait"`
}

// Replication is about what a write waits for, and about repair.
type Replication struct {
	Acks           Acks          `conf:"acks"`
	AckTimeout     time.Duration `conf:"ack_timeout"`
	OnAckTimeout   OnAckTimeout  `conf:"on_ack_timeout"`
	BatchDelay     time.Duration `conf:"batch_delay"` // how long async deltas wait for company, ≤ 5 ms
	RepairInterval time.Duration `conf:"repair_interval"`
	JoinTimeout    time.Duration `conf:"join_timeout"`
	JoinPolicy     JoinPolicy    `conf:"join_policy"`
}

// Webapps says where plugins lie.
type Webapps struct {
	Dir    string `conf:"dir"`    // folder of NAME.so; empty: no plugins
	Strict bool   `conf:"strict"` // an app that can't be deployed is an error of New

	Watch        bool          `conf:"watch"`         // redeploy apps whose files change while the node runs
	Drain        time.Duration `conf:"drain"`         // for a replaced or stopped app to end its requests and clean up
	MaxRevisions int           `conf:"max_revisions"` // of an app in the process; 0: no limit
	Keep         int           `conf:"keep"`          // builds of an app in data_dir, the present one among them
}

// App holds settings of one webapp.
type App struct {
	Name        string         `conf:"name"`
	Path        string         `conf:"path"`         // empty: /NAME/
	Acks        Acks           `conf:"acks"`         // empty: as [replication]
	MaxInactive time.Duration  `conf:"max_inactive"` // 0: as [sessions]
	Cookie      *Cookie        `conf:"cookie"`       // nil: as [http.cookie]; else complete
	Config      map[string]any `conf:"config"`       // handed to the app
}

// Balance is the balancer (nodeserver balance).
type Balance struct {
	Address         string        `conf:"address"`
	HealthInterval  time.Duration `conf:"health_interval"`
	RedirectAddress string        `conf:"redirect_address"`      // sends users to HTTPS; empty: nobody listens
	RedirectPort    int           `conf:"redirect_port"`         // of HTTPS, as users see it; 0: that of Address
	NodesCA         string        `conf:"nodes_ca"`              // PEM file, for nodes with TLS; empty: channel.tls_ca or the system's
	NodesName       string        `conf:"nodes_name"`            // in their certificates; empty: the host of their address
	ListApps        bool          `conf:"list_apps"`             // at "/", unless an app is served there
	NodeRequests    int           `conf:"max_requests_per_node"` // in flight; 0: no limit
	QueueTime       time.Duration `conf:"queue_time"`            // of requests for which all nodes have as many; 0: none
	SlowStart       time.Duration `conf:"slow_start"`            // of nodes that have become ready; 0: none
}

// Log is the node's log.
type Log struct {
	Level  LogLevel  `conf:"level"`
	Format LogFormat `conf:"format"`
	File   string    `conf:"file"` // opened anew at SIGUSR1; empty: standard error
}
