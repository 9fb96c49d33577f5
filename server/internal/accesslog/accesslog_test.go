package accesslog_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/config"
	"github.com/nodeserver/nodeserver/server/internal/accesslog"
)

// written is the line of a request.
func written(format config.AccessLog, target string, serve handler) string {
	var out bytes.Buffer
	r := httptest.NewRequest(http.MethodPost, target, nil)
	r.Header.Set("Cookie", "NSESSIONID=secret.n1")
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r = r.WithContext(context.WithValue(ctx, cancelKey{}, cancel))
	line, w := accesslog.New(format, &out).Begin(httptest.NewRecorder(), r)
	serve(w, r)
	line.ID, line.Node, line.Retries, line.Waited = "abc", "n2", 1, 1500*time.Microsecond
	line.End()
	return out.String()
}

type cancelKey struct{}

type handler = func(http.ResponseWriter, *http.Request)

func hello(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }

func nothing(http.ResponseWriter, *http.Request) {}

var common = regexp.MustCompile(`^192\.0\.2\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] ` +
	`.* \d+\.\d{6} 0\.001500 abc\n$`)

func TestCommon(t *testing.T) {
	for name, c := range map[string]struct {
		target, want string
		serve        handler
	}{
		"written": {"/shop/a%22%0Ab?token=secret", `"POST /shop/a%22%0Ab HTTP/1.1" 200 5 n2 1`, hello},
		"status": {"/shop/", `"POST /shop/ HTTP/1.1" 404 0 n2 1`, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
		}},
		"informational": {"/shop/", `"POST /shop/ HTTP/1.1" 201 0 n2 1`, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusCreated)
		}},
		"read from": {"/shop/", `"POST /shop/ HTTP/1.1" 200 5 n2 1`, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(strings.NewReader("hello!"), 5))
		}},
		"flushed by its controller": {"/shop/", `"POST /shop/ HTTP/1.1" 200 1 n2 1`, func(w http.ResponseWriter, _ *http.Request) {
			if _, err := w.Write([]byte("x")); err != nil || http.NewResponseController(w).Flush() != nil {
				t.Error("can't flush")
			}
		}},
		"nothing": {"/shop/", `"POST /shop/ HTTP/1.1" 200 0 n2 1`, nothing},
		"gone": {"/shop/", `"POST /shop/ HTTP/1.1" 499 0 n2 1`, func(_ http.ResponseWriter, r *http.Request) {
			r.Context().Value(cancelKey{}).(context.CancelFunc)()
		}},
		"long": {"/" + strings.Repeat("x", 5000), `"POST /` + strings.Repeat("x", 2047) + `... HTTP/1.1" 200`, nothing},
	} {
		got := written(config.AccessCommon, c.target, c.serve)
		if !strings.Contains(got, c.want) || strings.Contains(got, "secret") || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %s\nwant %s", name, got, c.want)
		}
		if !common.MatchString(got) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestJSON(t *testing.T) {
	got := written(config.AccessJSON, "/shop/a%22b?token=secret", hello)
	var line struct {
		Time                                               time.Time
		Client, Method, Host, Path, Proto, Node, RequestID string
		Status, Bytes, Retries                             int
		Seconds                                            float64
	}
	if err := json.Unmarshal([]byte(got), &line); err != nil {
		t.Fatal(err)
	}
	if line.Client != "192.0.2.1" || line.Method != "POST" || line.Host != "example.com" || line.Path != "/shop/a%22b" ||
		line.Status != 200 || line.Bytes != 5 || line.Node != "n2" || line.Retries != 1 || time.Since(line.Time) > time.Minute ||
		line.Seconds <= 0 ||
		!strings.Contains(got, `"request_id":"abc"`) || !strings.Contains(got, `"node_seconds":0.001500`) ||
		strings.Contains(got, "secret") {
		t.Error(got)
	}
	if accesslog.New(config.AccessOff, nil) != nil {
		t.Error("off writes")
	}
}
