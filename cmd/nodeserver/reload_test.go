package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tail reads the log of a file as it grows.
type tail struct {
	t    *testing.T
	path string
	seen int // lines
}

// await waits for the next line with the message.
func (l *tail) await(message string) map[string]any {
	l.t.Helper()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); <-time.After(5 * time.Millisecond) {
		f, err := os.Open(l.path)
		if err != nil {
			continue // not opened anew yet
		}
		lines, n := bufio.NewScanner(f), 0
		for lines.Scan() {
			var line map[string]any
			if n++; n <= l.seen || json.Unmarshal(lines.Bytes(), &line) != nil {
				continue
			}
			l.seen = n
			if line["msg"] == message {
				_ = f.Close()
				return line
			}
		}
		_ = f.Close()
	}
	l.t.Fatalf("no %q in %s within 20 s", message, l.path)
	return nil
}

// A running node takes over what can be changed of its conf at SIGHUP, names what can't, and keeps
// what it has where the conf is wrong. Its level of logging can be changed by operators, too, and
// its log goes on in a new file.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	conf, log := filepath.Join(dir, "n1.toml"), filepath.Join(dir, "n1.log")
	write := func(level, proxies, heartbeat string, more ...string) {
		t.Helper()
		text := fmt.Sprintf(`[node]
name = "n1"
[http]
address = "127.0.0.1:0"
access_log = "off"
trusted_proxies = [%s]
[admin]
address = "127.0.0.1:0"
[channel]
address = "127.0.0.1:0"
heartbeat = %q
[membership]
providers = []
[log]
format = "json"
level = %q
file = "n1.log"
%s`, proxies, heartbeat, level, strings.Join(more, "\n"))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("info", "", "250ms")
	p := launch(t, "run", "--conf", conf)
	lines := &tail{t: t, path: log}
	admin := lines.await("node started")["admin"].(string)
	level := func(want string) {
		t.Helper()
		resp, err := http.Get("http://" + admin + "/api/v1/log-level")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var reply struct{ Level string }
		if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil || reply.Level != want {
			t.Errorf("level %q (%v), want %s", reply.Level, err, want)
		}
	}
	level("info")

	write("debug", `"192.0.2.0/24"`, "200ms")
	p.signal(t, syscall.SIGHUP)
	if got := lines.await("configuration read anew")["changed"]; !same(got, "http.trusted_proxies", "log.level") {
		t.Errorf("taken over: %v", got)
	}
	restart := lines.await("these keys have changed, and take effect when the process is started again")
	if got := restart["keys"]; !same(got, "channel.heartbeat") {
		t.Errorf("named: %v", got)
	}
	level("debug")

	write("loud", "", "200ms")
	p.signal(t, syscall.SIGHUP)
	if err := lines.await("nothing was changed")["err"].(string); !strings.Contains(err, conf+":16:9: log.level") {
		t.Errorf("a broken file: %s", err)
	}
	level("debug")

	if code, stdout, stderr := nodeserver(t, nil, "log-level", "warn", "--admin", admin); code != exitGood ||
		stdout != "n1 logs from level warn on\n" {
		t.Errorf("exit code %d, %q %q", code, stdout, stderr)
	}
	level("warn")
	write("info", "", "200ms")
	p.signal(t, syscall.SIGHUP)
	lines.await("configuration read anew")
	level("info")

	if err := os.Rename(log, log+".1"); err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGUSR1)
	lines.seen = 0
	lines.await("the log's file was opened anew")
	p.signal(t, syscall.SIGTERM)
	lines.await("stopped")
	if code := p.exit(t); code != exitGood || len(p.rest) > 0 {
		t.Errorf("exit code %d, printed %q", code, p.rest)
	}
}

// same tells whether a value of a JSON log is this list.
func same(v any, want ...string) bool {
	list, _ := v.([]any)
	var got []string
	for _, x := range list {
		got = append(got, fmt.Sprint(x))
	}
	return slices.Equal(got, want)
}
