package balance_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nodeserver/nodeserver/server/balance"
)

// BenchmarkRequest is a GET without a session on its way to a node and back: the user's side is not
// a connection, the node's is one. The node's own work is in it.
func BenchmarkRequest(b *testing.B) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != "*" {
			_, _ = io.WriteString(w, "0123456789")
		}
	}))
	defer node.Close()
	ln, err := balance.Listen(b.Context(), "balance.address", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	source := balance.Fixed{{Name: "a", Address: node.Listener.Addr().String()}}
	door, err := balance.New(balance.Config{}, source, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = door.Run(b.Context(), ln, nil) }()
	ask := func() int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/counter/", http.NoBody)
		door.ServeHTTP(w, r)
		return w.Code
	}
	for deadline := time.Now().Add(10 * time.Second); ask() != http.StatusOK; {
		if time.Now().After(deadline) {
			b.Fatal("the node does not answer")
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if status := ask(); status != http.StatusOK {
			b.Fatal(status)
		}
	}
}
