// Package deploy holds the apps of a node: which there are, which are served, and by what.
//
// The Table is the only holder of the list of apps. A caller that wants something of all apps
// asks it: the mux of the listener for users, topics, readiness, metrics, the member list, the
// stop. Nobody keeps the list, or a part of it.
//
// A Place is what an app has on this node, as long as it is deployed: its name, its path
// and its sessions. A Revision is one build of the app's code. The place points to its
// current revision; a request takes that once, at its start, and gives it back at its end, so
// another revision can take its place while requests run.
//
// Apps come and go while the node runs. One that comes is Joining until it has the sessions of the
// members that host it; its channel topic makes it known to them. One that goes is Leaving until
// its requests have ended and the other members have the sessions.
//
// A Farm deploys on all nodes: the catalog says which build of which app the cluster hosts, the
// store keeps the files. Members speak through the interface Peer.
//
// # Not here
//
// Building and loading plugins (server/plugins), a request's way to its session
// (server/session), how members call each other (server/control).
package deploy
