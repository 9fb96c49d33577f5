// Package bench is the measuring stick: a webapp whose answers a load generator
// or a test can check, word for word, as plain text. SID is Session.ID(), NODE
// the node that answered, and each answer ends with a newline.
//
//	raw              - 0 NODE            touches no session: the floor of any measurement
//	inc              SID N NODE          attribute n, one more than before
//	inc?acks=LEVEL   SID N NODE          the same; its commit waits as LEVEL says, not as the node's conf
//	get              SID N NODE SIZE     n (0 if never incremented) and the size of blob, or -1
//	set?n=BYTES      SID BYTES NODE      random bytes in blob
//	put?k=NAME&v=V   SID SIZE NODE       the text V in attribute NAME
//	all              NAME=VALUE          a line for each attribute, sorted
//	fill?n=N&bytes=B - N NODE            N new sessions of B random bytes each
//	count            - N NODE            sessions on this node
//	invalidate       SID 0 NODE          the session is gone
//	changeid         SID N NODE          the same session under a new cookie
//	slow?ms=N        SID N NODE          as inc, then sleeps before it answers
//
// get, all, invalidate and changeid never create a session; where there is
// none, they answer "none -1 NODE" (get: "none -1 NODE -1"). An argument that
// can't be used is answered with 400 and a line that says which.
package bench

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/nodeserver/nodeserver/webapps"
)

// Webapp is the app, as a plugin exports it.
func Webapp() webapps.App {
	return webapps.App{Name: "bench", Version: "1", New: newHandler}
}

func newHandler(c webapps.Context) (http.Handler, error) {
	b := &bench{node: c.Node(), done: c.Done()}
	b.sessions, _ = c.(webapps.Sessions)
	mux := http.NewServeMux()
	for path, answer := range map[string]func(*http.Request) (string, error){
		"/raw":        b.raw,
		"/inc":        b.inc,
		"/get":        b.get,
		"/set":        b.set,
		"/put":        b.put,
		"/all":        b.all,
		"/fill":       b.fill,
		"/count":      b.count,
		"/invalidate": b.invalidate,
		"/changeid":   b.changeID,
		"/slow":       b.slow,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			text, err := answer(r)
			write(w, text, err)
		})
	}
	return mux, nil
}

// bench holds what the endpoints need; nothing in it changes.
type bench struct {
	node     string
	done     <-chan struct{}
	sessions webapps.Sessions // nil where the context doesn't offer it
}

// line is the answer "SID N NODE".
func (b *bench) line(sid string, n int) string {
	return sid + " " + strconv.Itoa(n) + " " + b.node + "\n"
}

// argError is an argument of the request that can't be used.
type argError struct {
	name, value, want string
}

func (e *argError) Error() string {
	return fmt.Sprintf("%s=%q: want %s", e.name, e.value, e.want)
}

// number is a numeric argument of the request, within 0 and most.
func number(r *http.Request, name string, most int) (int, error) {
	text := r.FormValue(name)
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, &argError{name, text, fmt.Sprintf("a number from 0 to %d", most)}
	}
	return n, nil
}

func write(w http.ResponseWriter, text string, err error) {
	status := http.StatusOK
	if err != nil {
		status, text = http.StatusInternalServerError, err.Error()+"\n"
		if _, bad := err.(*argError); bad { //nolint:errorlint // made here, never wrapped
			status = http.StatusBadRequest
		}
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(text)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the user may be gone; nobody else wants to know
}
