// Package session is a request's way to its session.
//
// A request comes in at its app's pipeline (App.Serve in pipeline.go), which hands it to the
// webapp's handler with a way to its session (connection.go, and visit in pipeline.go). The
// session (session.go) reads the delta manager's copy and records writes. When the handler
// returns, the writes are committed, the cookie is settled (cookie.go), and only then the
// first byte of the answer goes out (response.go).
//
// # Not here
//
// Which apps there are and what handler serves a request (the caller of Serve), replication
// (deltamanager), and who is a member: the package asks for that by the interface Members.
package session
