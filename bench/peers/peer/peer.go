package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof" // the benchmark asks for the heap
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// Config is what all peers are told.
type Config struct {
	Node  string // name
	HTTP  string // host:port for users
	Admin string // host:port for pprof
	Redis string // host:port of the Redis to use
}

// Flags defines the flags that fill a Config; the caller may add some and parses.
func Flags() *Config {
	c := &Config{}
	flag.StringVar(&c.Node, "node", "n1", "name of this node")
	flag.StringVar(&c.HTTP, "http", "127.0.0.1:0", "address for users")
	flag.StringVar(&c.Admin, "admin", "127.0.0.1:0", "address for pprof")
	flag.StringVar(&c.Redis, "redis", "127.0.0.1:6379", "address of Redis")
	return c
}

// Store is a session library, seen by the endpoints.
type Store interface {
	// Inc adds one to n and returns it.
	Inc(http.ResponseWriter, *http.Request) (sid string, n int, err error)
	// Get returns n and the size of blob, -1 if there is none; sid "" if there is no session.
	Get(*http.Request) (sid string, n, size int, err error)
	// Set puts blob into the session.
	Set(w http.ResponseWriter, r *http.Request, blob []byte) (sid string, err error)
	// Wrap is what the library wants around handlers.
	Wrap(http.Handler) http.Handler
}

// Run serves until SIGTERM. A nil store leaves /raw only.
func Run(c *Config, s Store) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	mux := http.NewServeMux()
	e := &endpoints{node: c.Node, store: s}
	mux.HandleFunc("/bench/raw", func(w http.ResponseWriter, _ *http.Request) { write(w, e.line("-", 0)) })
	if s != nil {
		for path, handle := range map[string]http.HandlerFunc{"/bench/inc": e.inc, "/bench/get": e.get, "/bench/set": e.set} {
			mux.Handle(path, s.Wrap(handle))
		}
	}
	admin, err := net.Listen("tcp", c.Admin)
	if err != nil {
		return err
	}
	pprof := &http.Server{Handler: http.DefaultServeMux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = pprof.Serve(admin) }() // ends with Close
	defer pprof.Close()                    //nolint:errcheck // the process ends
	server := &http.Server{Addr: c.HTTP, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Exit ends the process as err says.
func Exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

type endpoints struct {
	node  string
	store Store
}

func (e *endpoints) line(sid string, n int) string {
	return sid + " " + strconv.Itoa(n) + " " + e.node + "\n"
}

func (e *endpoints) inc(w http.ResponseWriter, r *http.Request) {
	sid, n, err := e.store.Inc(w, r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, e.line(known(sid), n))
}

func (e *endpoints) get(w http.ResponseWriter, r *http.Request) {
	sid, n, size, err := e.store.Get(r)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	case sid == "":
		write(w, "none -1 "+e.node+" -1\n")
	default:
		write(w, sid+" "+strconv.Itoa(n)+" "+e.node+" "+strconv.Itoa(size)+"\n")
	}
}

func (e *endpoints) set(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil || n < 0 || n > 4<<20 {
		http.Error(w, "n: want a number of bytes", http.StatusBadRequest)
		return
	}
	blob := make([]byte, n)
	_, _ = rand.Read(blob) // never fails
	sid, err := e.store.Set(w, r, blob)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, e.line(known(sid), n))
}

// known is the id, or what stands for one that isn't made yet.
func known(sid string) string {
	if sid == "" {
		return "new"
	}
	return sid
}

func write(w http.ResponseWriter, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(text)) // the user may be gone; nobody else wants to know
}
