// Package servertest runs a webapp in a test on a real cluster: nodes made by
// server.New that find each other, replicate and serve over loopback, all in
// the test's process. It is the second half of an author's test; the first,
// package webappstest, needs no network and tests what the handlers do.
//
//	c := servertest.Start(t, 3, cart.Webapp())
//	u := c.Visitor()
//	u.PostForm("/add", url.Values{"sku": {"tea"}})
//	c.Kill(0)
//	fmt.Println(u.Get("/?format=text").Body) // 1 6.50 - n2
//
// A Visitor is a browser behind a balancer: it keeps cookies, stays with the
// node that its cookie names, and goes to the next one when that is dead. Paths
// are within the app, as the app sees them and as webappstest wants them, so
// one helper of a test can drive both.
//
// # What is real, and what is not
//
// Real: the nodes, their pipeline, cookies, membership, state transfer, and
// every byte between them, over TCP. Unlike nodes in production they have no
// cluster secret, heartbeats of 100 ms, and acks = "all" with much patience, so
// that an answered change is on every live node and a test needs no luck; a
// function given to Start changes that.
//
// Kill closes all connections and listeners of the node at once, without a
// word to anybody, and its Run ends. To the others and to users that looks like
// SIGKILL, or harder: bytes that the node had sent and nobody had read yet are
// lost, too. What it can't do is stop goroutines: a handler that is running goes
// on, with its request's context done, and what it does reaches nobody. And
// since the nodes share a process, they share package variables: an app that
// keeps state there passes here and fails in production.
//
// # Rules
//
// Everything ends, and is waited for, when the test does. Visitors may be used
// from several goroutines; Start, Kill, Stop, Revive and Eventually only from
// the test's own, since they end the test if something is wrong.
package servertest
