// Package loadgen drives servers that have the /bench endpoints and checks every
// answer. The answers are plain text, "SID N NODE", as package webapps/bench of
// nodeserver documents them; any server that speaks them can be measured.
//
// What it can do:
//
//	Load      a closed loop of workers; counts what was stale, lost or diverged
//	Failover  the same while a node is killed half-way
//	Lag       writes at one node, polls another until the write shows
//	Fill      makes sessions
//	Join      starts a node and waits until it holds all sessions
//
// It is no general HTTP client: it knows GET over plain HTTP/1.1, with cookies,
// and costs 10 to 20 µs of CPU per request, so that on a machine of two cores the
// servers are seen and not the client. It shares the machine with them, so
// requests per second say little; CPU per request of the server processes is the
// figure to compare.
//
// What is counted. A worker remembers for each of its sessions what it was last
// told. An answer to inc that is lower than that plus one is stale, one that is
// higher is ahead (a write came twice), one with another SID is a lost session.
// When the load has ended and the servers are idle, every session is read at every
// node: copies that differ are diverged, and acknowledged increments that no copy
// has are lost increments.
//
// CPU is read from the kernel's clocks of the processes, from the moment the
// warm-up ends until the servers are idle again, so that work which a server puts
// off until after its answer is paid for.
//
// Everything started by a call has ended when the call returns. Results are plain
// values that marshal to JSON.
package loadgen
