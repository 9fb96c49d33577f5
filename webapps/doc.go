// Package webapps is what authors of webapps import, and all they import: it
// depends on the standard library only, so that a plugin shares nothing fragile
// with its host.
//
// A webapp is an App: a name and a function that makes an http.Handler. In a
// handler,
//
//	s := webapps.SessionOf(r)
//
// is the user's session, created where there is none, and
//
//	n, _, err := webapps.Get[int](s, "n")
//	err = s.Set("n", n+1)
//
// reads and writes it. When the handler returns, the writes are committed
// together and streamed to every other node that hosts the app: kill this
// node, and the next request, served elsewhere, finds them.
//
// # A webapp
//
// is an ordinary package with a function Webapp() webapps.App; webapps/counter
// is one to start from. "nodeserver build DIR" makes a plugin of it, NAME.so,
// which a node loads from its [webapps] dir; and since it is a package, it can
// be linked into a binary and tested, with webappstest, like any other.
// (A package main with that function will do for a plugin, too.)
//
// The handler sees paths within the app: a request for /counter/inc arrives
// as /inc. Make links relative, or from Context.Path.
//
// # What to keep in mind
//
//   - A change counts once Set, Remove or Update is called. Values are copies:
//     changing what Get filled changes nothing until it is Set again.
//   - Two requests of one session that write different attributes at once, on
//     whatever nodes, keep both writes. Of two writes to the same attribute
//     all nodes settle on the same one. So store what changes apart under
//     names apart. Update is safe against other requests on the same node.
//   - Values of type bool, int…, uint…, float…, string, []byte, time.Time and
//     time.Duration are stored as such, any other as CBOR by its exported
//     fields. Fields added later are tolerated.
//   - What is written after the first Flush, or from a handler that has
//     hijacked its connection, needs Commit to be sent before the handler ends.
//   - After a panic the request's writes are discarded, also where a middleware recovers the
//     panic and answers 5xx. Discard does so for failures of other kinds.
//
// # What serves apps
//
// Driver, Codec, Source, Sources and the functions that make or take them are for nodes
// and for webappstest. Apps don't use them, and they may change with any version.
package webapps
