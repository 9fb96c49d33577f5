// Package deltamanager keeps the sessions of one webapp at one node, and the
// same at all members that host the app. It knows neither HTTP nor gRPC nor the
// channel: it makes payloads and takes payloads, and asks its Group to be pulled.
//
// # The model
//
// A session is a map of registers (name, value or none, stamp) and one one-way
// flag, dead. Everything ever said about a session is a Delta, "here are some
// registers of session K"; the receiver merges: per register the higher stamp
// wins, dead wins over all. Merge is commutative, associative and idempotent, so
// loss, doubling and reordering need no cases of their own, only the detection
// of absence:
//
//	live      a commit appends to the log; each member's link reads the log at its own pace
//	repair    heartbeats carry a digest; where digests differ, or a link left something
//	          out, sums of 4096 buckets are compared and what differs is exchanged, both ways
//
// Joining is a repair in which everything differs, shared out over all members.
//
// # What is ordered, what may be lost
//
// Frames of one member are applied in their order. Nothing is ordered between
// members; stamps (hybrid logical clocks) settle that the same way everywhere.
// The writes of one request carry one stamp and appear at once. A commit is lost
// if this node dies before a member has applied it: Expect and View.Commit wait
// as long as the caller asks them to. A link that falls behind by more than the
// log holds leaves changes out, counts up its epoch, and repair carries them.
//
// # On a join and on a split
//
// A core is not Ready until it has repaired with every member it can reach.
// During a split both sides go on; afterwards every attribute has the value that
// was written last, on either side, and a session invalidated on one side is
// dead on both.
//
// # Concurrency
//
// Core is a state machine without goroutines and clocks: now is an argument. A
// simulator (package sim) runs it through thousands of faults. Manager is the
// shell around it that a node uses, View one request's way to a session. All are
// safe for concurrent use. A commit locks its session's bucket and nothing else.
package deltamanager
