// Package peer is what the Go peers of the benchmark share: the endpoints of
// /bench over a session library, flags, an address for pprof, and an orderly end.
//
// A peer is what somebody would write who uses that library as its README says:
// no tuning that its documentation doesn't ask for, nothing left out that a
// session needs. Each is a program of its own, so that none carries another's
// code in its memory:
//
//	plain         net/http alone, answers /raw only: the limit of the stack
//	scsmem        scs over its store in memory, each node for itself
//	scsredis      scs over one Redis, with its own goredisstore
//	gorillaredis  gorilla/sessions over one Redis, with redistore
//	natskv        scs over a JetStream KV bucket, three replicas in memory, of
//	              NATS servers that run inside the nodes
//
// What a session holds: the number n and, after set, blob, as in nodeserver's
// webapp bench. Libraries that make a session's id only after the handler answer
// "new" in its place the first time.
package peer
