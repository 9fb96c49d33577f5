// Package deploy holds the apps of a node: which there are, which are served, and by what.
//
// The Table is the only holder of the list of apps. Whoever wants something of all apps
// asks it: the mux of the listener for users, topics, readiness, metrics, the member list, the
// stop. Nobody keeps the list, or a part of it.
//
// A Place is what an app has on this node, as long as it is deployed: its name, its path
// and its sessions. A Revision is one build of the app's code. The place points to its
// current revision; a request takes that once, at its start, and gives it back at its end, so
// another revision can take its place while requests run.
//
// # Not here
//
// Building and loading plugins (server/plugins), a request's way to its session
// (server/session).
package deploy
