// Package channeltest is a network in memory for tests, with the faults that real networks have.
//
// A Network joins hosts. A host is just a name: an address is "host:port", and a dialer belongs to
// a host. Between two hosts the test can set a delay, cut the way (in both directions or in one),
// heal it, and reset the connections; it can also kill a host. The programs under test then see
// what TCP shows:
//
//	no listener        a dial is refused at once
//	cut                a dial hangs; bytes, and the news that an end was closed, wait and
//	                   arrive after the way was healed; a writer blocks when the buffers
//	                   are full
//	reset, kill        both ends fail at once
//
// Everything is durably blocking in the sense of testing/synctest, so that a whole cluster with its
// real gRPC transport runs in a bubble in virtual time. Networks, listeners and connections must be
// made in the bubble, and both ends of each connection closed before it ends. Bytes are copied on
// the way; their order is kept, and no byte arrives twice.
package channeltest
