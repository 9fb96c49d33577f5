// Package balance is nodeserver's own front door: an HTTP reverse proxy that
// keeps a user on the node that serves his session and moves him when that node
// dies, without losing the request that found out.
//
// It is not a general proxy: no caching, no rewriting, no TLS to nodes, one
// cluster. Any other front door does as well; this one is there so that a
// cluster can be tried, and run, with one binary.
//
// # Which node
//
// A session cookie ends in ".NODE" (the route). Of several such cookies the
// first with a known node counts. For each request nodes rank so:
//
//	the route's node      if it is up and at least Keep
//	Full nodes            fewest requests in flight, then in turn
//	Keep nodes            suspected by others; they keep their own users only
//	Spare nodes           draining, or disputed; only if nothing better is there
//	nodes marked down     last of all: the list may be wrong
//
// A node is marked down when a dial fails, and up again when a probe (a TCP
// dial each Config.HealthInterval) succeeds or the Source lists a new life of
// it. No other error marks a node: a slow node is not a dead one.
//
// # Retries
//
// Each node is tried at most once per request. A dial error always leads to
// the next node: nothing was sent, the body is still whole. Any other error
// before the response does so only for idempotent requests without a body, for
// nobody can know whether the node has carried the request out; the others are
// answered 502. After the first byte of a response nothing is ever retried: the
// user's connection is cut, so that half an answer can't pass for a whole one.
// A request that waits for a node which the Source has given up is treated as
// broken, so a frozen node holds nobody for longer than the members take to
// notice. When nobody is left, the answer is 503. Every retry is counted.
//
// # Where nodes come from
//
// From a Source: Fixed is a list; Members asks the cluster itself, by watching
// the member lists of several nodes at once and merging them. A node is believed
// about itself, so that one the others can't reach goes on serving its users;
// but when others suspect it, it is asked anew, and if it doesn't answer within
// a second it is frozen and their word counts. If all watches break, the last
// list stays and dials decide.
package balance
