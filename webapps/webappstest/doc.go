// Package webappstest runs a webapp in a test: no node, no network, no cluster.
//
//	u := webappstest.New(t, counter.Webapp())
//	u.Get("/")
//	fmt.Println(u.Get("/?format=text").Body) // 2 test
//
// A Client is one user with one browser: their first request has no cookie, those
// after it have what the app's session gave them. Another is another user, Copy
// somebody who stole the cookie. The session is a real one in what an app can
// see of it: values are copied in and out, sizes and names are checked, writes
// are visible to the request at once and to others when the handler returns, a
// panic discards them and answers 500, a new id at login kills the old cookie,
// and listeners are called. Client.Session looks into it, Expire lets it end.
//
// For the same app on real nodes, of which some are killed, see package
// server/servertest; its visitors take the same requests and give the same
// answers, so that helpers of a test can serve both.
//
// # What it does not do
//
// Writes aren't replicated, so there is nothing that an ack level waits for, and a
// response isn't held back until the commit; but a session that is created or given a
// new id after the first Flush, whose cookie a node couldn't send any more, fails the
// test, and so does one that is asked for by a goroutine that outlived its handler.
// A session that was unused for its MaxInactive ends when somebody comes back to it, or
// by Expire, not by itself.
//
// A Client may be used from several goroutines, as a browser with many tabs.
package webappstest
