package admin

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strconv"

	"github.com/nodeserver/nodeserver/server/operators"
)

// maxProfile is the longest that a profile may take, in seconds: it costs a core.
const maxProfile = 60

// profiles are the routes of net/http/pprof: for operators, since a profile shows what is in
// memory and costs CPU, and only if admin.pprof says so.
func profiles(on bool) []operators.Route {
	if !on {
		return []operators.Route{
			{Method: "GET", Path: "/debug/pprof/", Role: operators.Operator, Handler: func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, "profiles are off: set admin.pprof = true", http.StatusNotFound)
			}},
		}
	}
	var list []operators.Route
	for path, h := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		list = append(list, operators.Route{Method: "GET", Path: "/debug/pprof/" + path, Role: operators.Operator, Handler: bounded(h)})
	}
	return list
}

// bounded refuses profiles that take too long.
func bounded(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if text := r.FormValue("seconds"); text != "" {
			if n, err := strconv.ParseFloat(text, 64); err != nil || !(n > 0 && n <= maxProfile) {
				http.Error(w, fmt.Sprintf("seconds: a profile takes 1 to %d", maxProfile), http.StatusBadRequest)
				return
			}
		}
		h(w, r)
	}
}
