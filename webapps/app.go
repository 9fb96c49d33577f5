package webapps

import (
	"log/slog"
	"net/http"
)

// App is a webapp: a named handler that a node hosts. A plugin exports
//
//	func Webapp() webapps.App
//
// New is called once per node before the first request; an error keeps the app
// from being deployed and is shown to the operator.
type App struct {
	Name    string // [a-z0-9-]{1,64}; served at /Name/, "root" at /
	Version string // shown to operators; free text
	New     func(Context) (http.Handler, error)
}

// Context is what a node tells an app about its place. Safe for concurrent use.
type Context interface {
	// Name is the app's name.
	Name() string
	// Path is where the app is served, with a slash at its end: "/counter/".
	Path() string
	// Node is the name of the node, unique in the cluster.
	Node() string
	// Logger writes to the node's log, with the app's name on each line.
	Logger() *slog.Logger
	// Config decodes the app's settings (conf: [[app]] config = {…}) into a
	// pointer to a struct with json tags. Unknown keys are errors.
	Config(into any) error
	// Done is closed when the app is about to be undeployed or the node stops: no
	// request is to come then, and those in flight can end, of which the node waits for
	// some time. Answers that go on for long shall end when it closes.
	Done() <-chan struct{}
}
