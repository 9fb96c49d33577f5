// Package sim plays histories of clusters through the production code of
// package deltamanager, and looks for broken promises.
//
// A history is drawn from one number, the seed: how many nodes, which faults,
// which clients, when what happens. One goroutine plays it, from a heap of
// events in virtual time; the cores under test read no clock and draw no chance
// of their own. So the same seed and the same code give the same history, byte
// for byte, which a trace hash shows.
//
//	seed ─> Mix ─> world ─┬─ incarnation: a Core, its monotonic clock, its wall clock
//	                      ├─ network: connections of package channel's contract, cut, stalled, slow;
//	                      │    in hostile mixes they also lose, double and reorder payloads
//	                      ├─ nemesis: splits, crashes, pauses, slow members, drains, joins
//	                      ├─ clients: requests through a balancer that is more or less sticky
//	                      └─ observer: the invariants, told in words by docs/RELIABILITY.md
//
// What the observer knows is what clients were answered, which commits a node
// accepted, who was connected to whom, and what all nodes hold in the end,
// after faults have stopped. It does not look inside while the history runs.
//
// Not here: gRPC, goroutines, real time. Those are tested in package channel
// and with real processes.
//
// Try it:
//
//	go run ./deltamanager/sim/cmd -seeds 100
//	go run ./deltamanager/sim/cmd -from 4711 -seeds 1
package sim
