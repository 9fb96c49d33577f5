package conf_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/config"
)

// load loads what must be right.
func load(t *testing.T, file string, sets, environ []string) (config.Config, *conf.Origins) {
	t.Helper()
	cfg, origins, err := conf.Load(file, sets, environ)
	if err != nil {
		t.Fatalf("load %q: %v", file, err)
	}
	return cfg, origins
}

func TestGoodFile(t *testing.T) {
	cfg, origins := load(t, "testdata/good.toml", nil, nil)
	if cfg.Node.Name != "n7" || cfg.HTTP.MaxHeaderBytes != 32<<10 || cfg.Sessions.MaxSessionBytes != 512<<10 {
		t.Errorf("got %+v", cfg)
	}
	for _, path := range []struct{ key, got, want string }{
		{"tls_cert", cfg.HTTP.TLSCert, "/etc/cert.pem"},
		{"tls_key", cfg.HTTP.TLSKey, "key.pem"},
		{"secret_file", cfg.Cluster.SecretFile, "testdata/secret"},
		{"token_file", cfg.Admin.TokenFile, ""},
	} {
		if path.got != path.want {
			t.Errorf("%s: got %q, want %q", path.key, path.got, path.want)
		}
	}
	want := []config.App{
		{
			Name: "cart", Path: "/shop/", Acks: "one", MaxInactive: 2 * time.Hour,
			// Capitals and dots in a webapp's own keys are its own business.
			Config: map[string]any{"Currency": "EUR", "Limits": map[string]any{"Per.User": int64(3)}},
		},
		{Name: "root"},
	}
	if diff := cmp.Diff(want, cfg.Apps); diff != "" {
		t.Errorf("apps differ (-want +got):\n%s", diff)
	}
	if from := origin(
		t,
		origins,
		"app.cart.path",
	); from != (conf.Origin{Key: "app.cart.path", Value: `"/shop/"`, From: "testdata/good.toml:22"}) {
		t.Errorf("got origin %+v", from)
	}
	if config := origin(t, origins, "app.cart.config").Value; config != "{Currency, Limits}" {
		t.Errorf("config is shown as %s, want the names only", config)
	}
}

// origin finds the origin of a key.
func origin(t *testing.T, o *conf.Origins, key string) conf.Origin {
	t.Helper()
	i := slices.IndexFunc(o.Values, func(v conf.Origin) bool { return v.Key == key })
	if i < 0 {
		t.Fatalf("no origin of %s", key)
	}
	return o.Values[i]
}

func TestLayers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n.toml")
	write(
		t,
		file,
		"[node]\nname = \"file\"\n[channel]\nheartbeat = \"100ms\"\n[log]\nlevel = \"warn\"\n[membership]\nstatic = [\"127.0.0.1:1\"]\n",
	)
	environ := []string{
		"NODESERVER_CHANNEL_HEARTBEAT=150ms", "NODESERVER_LOG_LEVEL=error",
		"NODESERVER_MEMBERSHIP_STATIC=127.0.0.1:1, 127.0.0.1:2", "NODESERVER_MEMBERSHIP_PROVIDERS=mdns,static",
		"NODESERVER_HTTP_EXPOSE_NODE=true", "NODESERVER_NODE_NAME=", "HOME=/root",
		"NODESERVER_HTTP_SERVICE_HOST=10.0.0.1", "NODESERVER_HTTP_PORT_80_TCP_ADDR=10.0.0.1", "NODESERVER_PORT=tcp://10.0.0.1:80",
	}
	cfg, origins := load(t, file, []string{"log.level=debug", "sessions.max_session_bytes=2MiB", "channel.change_log_entries=100"}, environ)
	for _, c := range []struct {
		key       string
		got, want any
		from      string
	}{
		{"log.format", string(cfg.Log.Format), "text", "default"},
		{"node.name", cfg.Node.Name, "file", file + ":2"},
		{"channel.heartbeat", cfg.Channel.Heartbeat, 150 * time.Millisecond, "NODESERVER_CHANNEL_HEARTBEAT"},
		{"http.expose_node", cfg.HTTP.ExposeNode, true, "NODESERVER_HTTP_EXPOSE_NODE"},
		{"membership.static", cfg.Membership.Static, []string{"127.0.0.1:1", "127.0.0.1:2"}, "NODESERVER_MEMBERSHIP_STATIC"},
		{"log.level", string(cfg.Log.Level), "debug", "--set"},
		{"sessions.max_session_bytes", cfg.Sessions.MaxSessionBytes, 2 << 20, "--set"},
		{"channel.change_log_entries", cfg.Channel.ChangeLogEntries, 100, "--set"},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.key, diff)
		}
		if from := origin(t, origins, c.key).From; from != c.from {
			t.Errorf("%s comes from %s, want %s", c.key, from, c.from)
		}
	}
	if len(origins.Warnings) > 0 {
		t.Errorf("warnings %v, want none", origins.Warnings)
	}
}

func TestWrongElsewhere(t *testing.T) {
	for _, c := range []struct {
		name          string
		sets, environ []string
		want          []string
	}{
		{
			name: "environment",
			environ: []string{
				"NODESERVER_HTTP_ADDRESS=:99999", "NODESERVER_CHANNEL_HEARTBEAT=soon",
				"NODESERVER_HTTP_ADRESS=:80", "NODESERVER_CHANNEL_INSECURE=1",
			},
			want: []string{
				`NODESERVER_CHANNEL_HEARTBEAT: channel.heartbeat: "soon" is not a duration (like 250ms)`,
				`NODESERVER_CHANNEL_INSECURE: channel.insecure: "1" is not true or false`,
				`NODESERVER_HTTP_ADDRESS: http.address: ":99999": the port must be 0 to 65535`,
				`NODESERVER_HTTP_ADRESS: unknown variable (did you mean NODESERVER_HTTP_ADDRESS?)`,
			},
		},
		{
			name: "command line",
			sets: []string{
				"http.address=here", "replication.acks=some", "chanel.address=:1", "webapps", "app.name=x",
				"channel.change_log_entries=many",
			},
			want: []string{
				`--set app.name=x: settings of webapps come from [[app]] in the file only`,
				`--set chanel.address=:1: unknown key (did you mean channel.address?)`,
				`--set channel.change_log_entries=many: "many" is not a whole number`,
				`--set http.address=here: "here" is not host:port (like 127.0.0.1:8081)`,
				`--set replication.acks=some: "some" is none of async, one, majority, all`,
				`--set webapps: write section.key=value`,
			},
		},
		{
			name:    "the later layer is to blame where two don't go together",
			sets:    []string{"channel.suspect_after=100ms"},
			environ: []string{"NODESERVER_LOG_LEVEL=debug"},
			want:    []string{`--set channel.suspect_after=100ms: 100ms must be more than channel.heartbeat (250ms)`},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := conf.Load("", c.sets, c.environ)
			got := problems(t, err, "nodeserver.toml")
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("problems differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	_, origins := load(t, "", []string{
		"membership.static=10.0.0.1:4001", "channel.suspect_after=300ms", "sessions.absolute_lifetime=10m",
	}, []string{"NODESERVER_CHANEL_ADDRESS=:1"})
	want := []string{
		`nodeserver.toml: channel.address: "127.0.0.1:4001" can't be dialled from other machines`,
		`NODESERVER_CHANEL_ADDRESS: unknown variable (did you mean NODESERVER_CHANNEL_ADDRESS?)`,
		`--set channel.suspect_after=300ms: 300ms is less than two heartbeats`,
		`--set membership.static=10.0.0.1:4001: has no effect without "static"`,
		`--set sessions.absolute_lifetime=10m: max_inactive 30m never comes`,
	}
	for _, w := range want {
		if !slices.ContainsFunc(origins.Warnings, func(p conf.Problem) bool { return strings.HasPrefix(p.String(), w) }) {
			t.Errorf("no warning %q in:\n%v", w, origins.Warnings)
		}
	}
}

func TestFileMissing(t *testing.T) {
	_, _, err := conf.Load("testdata/none.toml", nil, nil)
	var e *conf.Error
	if !errors.Is(err, fs.ErrNotExist) || errors.As(err, &e) {
		t.Errorf("got %v, want that there is no such file", err)
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Whatever stands in a file: an answer, never a panic.
func FuzzFile(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	file := filepath.Join(f.TempDir(), "fuzz.toml")
	f.Fuzz(func(t *testing.T, text string) {
		write(t, file, text)
		_, origins, err := conf.Load(file, nil, nil)
		if (origins == nil) == (err == nil) {
			t.Errorf("origins %v with error %v", origins, err)
		}
	})
}

// Keys of before count, wherever they come from, and whoever has one hears of the new name.
func TestRenamedKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n1.toml")
	if err := os.WriteFile(file, []byte("[node]\nname = \"n1\"\n[channel]\nqueue_entries = 100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, origins, err := conf.Load(file, nil, []string{"NODESERVER_REPLICATION_GATHER=2ms"})
	if err != nil || cfg.Channel.ChangeLogEntries != 100 || cfg.Replication.BatchDelay != 2*time.Millisecond {
		t.Fatalf("%+v %+v %v", cfg.Channel, cfg.Replication, err)
	}
	var got []string
	for _, w := range origins.Warnings {
		got = append(got, strings.ReplaceAll(w.String(), file, "FILE"))
	}
	want := []string{
		"FILE:4:1: channel.queue_entries is channel.change_log_entries now: write that, the old name goes with the next version",
		"NODESERVER_REPLICATION_GATHER: NODESERVER_REPLICATION_GATHER is NODESERVER_REPLICATION_BATCH_DELAY now: " +
			"write that, the old name goes with the next version",
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("no %q in %q", w, got)
		}
	}
	if cfg, _, err := conf.Load(file, []string{"replication.gather=3ms"}, nil); err != nil ||
		cfg.Replication.BatchDelay != 3*time.Millisecond {
		t.Errorf("%v %v", cfg.Replication.BatchDelay, err)
	}
	if err := os.WriteFile(file, []byte("[channel]\nchange_log_entries = 50\nqueue_entries = 100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := conf.Load(file, nil, nil); err == nil ||
		!strings.Contains(err.Error(), "channel.change_log_entries: is given as channel.queue_entries, too") {
		t.Errorf("both: %v", err)
	}
}

// An app's cookie is like all the others but for what the app has of its own, wherever that of
// all comes from.
func TestCookiesOfApps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n.toml")
	write(
		t,
		file,
		"[http.cookie]\ndomain = \"example.com\"\nmax_age = \"10m\"\n[[app]]\nname = \"a\"\ncookie = {same_site = \"none\", "+
			"domain = \"\"}\n[[app]]\nname = \"b\"\n[app.cookie]\nmax_age = \"20m\"\n[[app]]\nname = \"c\"\n",
	)
	cfg, origins := load(t, file, []string{"http.cookie.same_site=strict"}, []string{"NODESERVER_HTTP_COOKIE_SECURE=always"})
	all := config.Cookie{SameSite: "strict", Domain: "example.com", MaxAge: 10 * time.Minute, Secure: "always"}
	if cfg.HTTP.Cookie != all {
		t.Errorf("of all: %+v", cfg.HTTP.Cookie)
	}
	a, b := all, all
	a.SameSite, a.Domain, b.MaxAge = "none", "", 20*time.Minute
	want := []config.App{{Name: "a", Cookie: &a}, {Name: "b", Cookie: &b}, {Name: "c"}}
	if diff := cmp.Diff(want, cfg.Apps); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for key, from := range map[string]conf.Origin{
		"http.cookie.max_age": {Value: `"10m"`, From: file + ":3"},
		"http.cookie.secure":  {Value: `"always"`, From: "NODESERVER_HTTP_COOKIE_SECURE"},
		"app.a.cookie.domain": {Value: `""`, From: file + ":6"}, "app.b.cookie.max_age": {Value: `"20m"`, From: file + ":10"},
	} {
		from.Key = key
		if got := origin(t, origins, key); got != from {
			t.Errorf("%+v, want %+v", got, from)
		}
	}
	write(t, file, "[http.cookie]\nmax_age = \"1h\"\n[[app]]\nname = \"a\"\ncookie.max_age = \"2h\"\n")
	_, origins = load(t, file, nil, nil)
	var warnings []string
	for _, w := range origins.Warnings {
		warnings = append(warnings, w.String())
	}
	wanted := []string{
		file + ":2:11: http.cookie.max_age: 1h is longer than sessions.max_inactive (30m): a session that is not used ends before " +
			"its cookie does",
		file + ":5:18: app.cookie.max_age: 2h is longer than sessions.max_inactive (30m): a session that is not used ends before " +
			"its cookie does",
	}
	if diff := cmp.Diff(wanted, warnings); diff != "" {
		t.Errorf("warnings (-want +got)\n%s", diff)
	}
}
