// Package webappstest runs a webapp in a test: no node, no network, no cluster.
//
//	client := webappstest.New(t, counter.Webapp())
//	client.Get("/")
//	fmt.Println(client.Get("/?format=text").Body)   // 2 test
//
// A Client is one user with one cookie jar: his first request has no session,
// those after it have the one the app made. The session is a real one in what
// an app can see of it: values are copied in and out, sizes and names are
// checked, writes are visible to the request at once and to others when the
// handler returns, and a panic discards them and answers 500.
//
// # What it does not do
//
// Sessions don't expire by themselves, writes aren't replicated, ack levels
// only have their names checked, and a response isn't held back until the
// commit. Types that are not native (see package webapps) are stored as JSON
// rather than CBOR, since this package, too, uses the standard library only;
// with exported fields and json tags both hold the same.
//
// A Client may be used from several goroutines, as a browser with many tabs.
package webappstest
