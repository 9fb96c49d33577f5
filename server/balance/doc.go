// Package balance is nodeserver's own balancer: an HTTP reverse proxy that
// keeps a user on the node that serves their session and moves them when that node
// dies, without losing the request that found out.
//
// It is not a general proxy: no caching, no rewriting, one
// cluster. Any other balancer does as well; this one is there so that a
// cluster can be tried, and run, with one binary.
//
// # Which node
//
// A request goes only to nodes that host the app of its path, as members say at the time: of all
// apps that the balancer has heard of, the one with the longest path that fits. While no node
// that is there hosts it, the answer is 503 with its name; a path of no app is answered 404, and
// "/" with a list of the apps if nobody serves that path (Config.ListApps).
//
// A session cookie ends in ".NODE" (the route). Of several such cookies the
// first with a known node counts; those named __Host- come last, as their path
// is the shortest. For each request nodes rank so:
//
//	the route's node      if it is up and at least Keep
//	Full nodes            of two drawn at random the one with fewer requests in flight
//	Keep nodes            suspected by others; they keep their own users only
//	nodes in doubt        for a moment; a request that must have one waits for the verdict
//	Spare nodes           draining, or disputed; only if nothing better is there
//	another domain's      in the same order, if none of the above can be had
//	nodes marked down     last of all: the list may be wrong
//
// A node that has just become ready, or whose drain was taken back, takes part in a tenth of the
// draws at first and in all after Config.SlowStart.
//
// A node that drains serves on: for a moment (http.drain_notice) if it is about to stop, until it
// hears otherwise if an operator drains it. The balancer then ends
// its idle connections to it: if the node ended them, a request could be on its way.
//
// A node is in doubt from the moment when it ends a connection, be it an idle one.
// It is then asked for a sign of life (OPTIONS *, which no app sees), and within
// a round trip it is trusted again or marked down. So when a process is killed
// most of its users' requests go elsewhere without having tried, and none
// waits for a listener that the kernel has not closed yet.
//
// A node is marked down when it refuses connections or breaks off that question, or when a
// connection is not made in time and the question, asked then, fails likewise; and up again when it answers the same question, asked each
// Config.HealthInterval, or when the Source lists a new incarnation of it. No other error
// marks a node: a slow node is not a dead one.
//
// Each new connection to a node begins with that question, and the answer names
// the node's incarnation (headers.Incarnation). So whatever address a member announces, no
// request goes to something that is not that member's HTTP listener. Without a
// cluster secret, only loopback addresses are dialled (Config.Dialer).
//
// # Retries
//
// Each node is tried at most once per request, and the next one at once. The
// next is asked
//
//	always              if there was no connection, or the node says that no app
//	                    has seen the request (503 with headers.Retry)
//	once, if idempotent if the connection broke before the response began: nobody
//	                    can know whether the node has carried the request out
//
// as long as the body is whole: there is none, it is small and was kept, or none of
// it has been read. Other requests are answered 502. After the first byte of a
// response nothing is ever retried: the user's connection is cut, so that half an
// answer can't pass for a whole one. A request that waits for a node which the
// Source has given up is treated as broken, so a frozen node holds nobody for
// longer than the members take to notice. When nobody is left, the answer is 503.
// Every retry is counted.
//
// A request may be what breaks a node: a handler whose goroutine panics ends the
// process. So it is sent again once, and where the second node breaks off, too, no
// request for that path is sent again for a minute.
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
