// Package smuggling holds requests that some programs take for one and others for two, or for
// one with other fields. Tests send them through this balancer and through others.
package smuggling

import "strings"

// Smuggled is the request that is hidden in others.
const Smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

// Case is what a client sends on a connection of its own.
type Case struct {
	Name, Text string
	Ends       bool     // the client sends no more after it, and says so
	Status     string   // of the answers of nodeserver's own balancer, up to the final one
	Seen       []string // by a node behind that balancer: method, target and body of each request
}

// Corpus returns all cases.
func Corpus() []Case {
	list := make([]Case, 0, len(rows))
	for _, r := range rows {
		text, whole := strings.CutPrefix(r.text, "^")
		if !whole {
			text = "POST /a HTTP/1.1\r\nHost: x\r\n" + text
		}
		text, ends := strings.CutSuffix(text, "$")
		list = append(list, Case{r.name, text, ends, r.status, r.seen})
	}
	return list
}

// rows are the cases. Each begins after "POST /a HTTP/1.1\r\nHost: x\r\n"; those that begin with
// ^, at the very start. A $ at the end stands for the end of what the client sends.
var rows = []struct {
	name, text string
	status     string
	seen       []string
}{
	{"CL.TE", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", "200", []string{"POST /a "}},
	{"TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", []string{"POST /a hello"}},
	{
		"TE.CL, a request in the chunk",
		"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n23\r\n" + Smuggled + "\r\n0\r\n\r\n",
		"200",
		[]string{"POST /a " + Smuggled},
	},
	{"TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + Smuggled, "501", nil},
	{"TE.TE, in one line", "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + Smuggled, "501", nil},
	{"TE.TE, both chunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + Smuggled, "501", nil},
	{"TE of another name", "Transfer-Encoding: xchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + Smuggled, "501", nil},
	{"TE with a space before its colon", "Transfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + Smuggled, "400", nil},
	{"TE with a tab", "Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", []string{"POST /a hello"}},
	{"TE with a vertical tab", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + Smuggled, "400", nil},
	{
		"TE of HTTP/1.0",
		"^POST /a HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + Smuggled,
		"200",
		[]string{"POST /a "},
	},
	{"two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + Smuggled, "400", nil},
	{"two lengths in one line", "Content-Length: 5, 5\r\n\r\nhello" + Smuggled, "400", nil},
	{"the same length twice", "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "200", []string{"POST /a hello"}},
	{"a length with a sign", "Content-Length: +5\r\n\r\nhello" + Smuggled, "400", nil},
	{"a negative length", "Content-Length: -5\r\n\r\nhello" + Smuggled, "400", nil},
	{"a length in hex", "Content-Length: 0x5\r\n\r\nhello" + Smuggled, "400", nil},
	{"a length beyond the body", "Content-Length: 50\r\n\r\nhello$", "400", nil},
	{"a request as a body", "Content-Length: 35\r\n\r\n" + Smuggled, "200", []string{"POST /a " + Smuggled}},
	{"doubled Host", "Host: y\r\n\r\n" + Smuggled, "400", nil},
	{"no Host", "^GET /a HTTP/1.1\r\n\r\n" + Smuggled, "400", nil},
	{"Host with a path", "^GET /a HTTP/1.1\r\nHost: x/y\r\n\r\n" + Smuggled, "400", nil},
	{"Host with a space", "^GET /a HTTP/1.1\r\nHost: x y\r\n\r\n" + Smuggled, "400", nil},
	{"another host in the target", "^GET http://y/a HTTP/1.1\r\nHost: x\r\n\r\n", "200", []string{"GET /a "}},
	{"obs-fold", "X-Fold: one\r\n two\r\nContent-Length: 5\r\n\r\nhello", "200", []string{"POST /a hello"}},
	{"obs-fold that hides a length", "X-Fold: one\r\n Content-Length: 5\r\n\r\n", "200", []string{"POST /a "}},
	{"obs-fold of the first field", "^GET /a HTTP/1.1\r\n Host: x\r\n\r\n" + Smuggled, "400", nil},
	{"bare LF", "^POST /a HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello", "200", []string{"POST /a hello"}},
	{"bare LF in a chunk", "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", "400", nil},
	{"bare CR in a field", "X-A: b\rContent-Length: 5\r\n\r\n" + Smuggled, "400", nil},
	{"nul in a field", "X-A: b\x00c\r\n\r\n" + Smuggled, "400", nil},
	{"nul in a name", "X-\x00A: b\r\n\r\n" + Smuggled, "400", nil},
	{"nul in the target", "^GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n" + Smuggled, "400", nil},
	{"a space in the target", "^GET /a b HTTP/1.1\r\nHost: x\r\n\r\n" + Smuggled, "400", nil},
	{"a field without a colon", "X-A\r\n\r\n" + Smuggled, "400", nil},
	{"a field without a name", ": b\r\n\r\n" + Smuggled, "400", nil},
	{"a line break in the target", "^GET /a%0d%0aHost:%20y HTTP/1.1\r\nHost: x\r\n\r\n", "200", []string{"GET /a%0d%0aHost:%20y "}},
	{"200 kB of fields", strings.Repeat("X-A: "+strings.Repeat("b", 995)+"\r\n", 200) + "\r\n" + Smuggled, "431", nil},
	{"200 kB of one field", "X-A: " + strings.Repeat("b", 200_000) + "\r\n\r\n" + Smuggled, "431", nil},
	{"200 kB of a target", "^GET /" + strings.Repeat("b", 200_000) + " HTTP/1.1\r\nHost: x\r\n\r\n" + Smuggled, "431", nil},
	{"Expect", "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello", "100 200", []string{"POST /a hello"}},
	{"Expect in capitals", "Expect: 100-CONTINUE\r\nContent-Length: 5\r\n\r\nhello", "100 200", []string{"POST /a hello"}},
	{"Expect without a body", "Expect: 100-continue\r\n\r\n", "200", []string{"POST /a "}},
	{"Expect of something else", "Expect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", "417", nil},
	{"a chunk's size that is none", "Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk's size with a sign", "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk's size beyond 64 bits", "Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"a chunk longer than its size", "Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n", "400", nil},
	{"chunks without an end", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n$", "400", nil},
	{
		"a trailer that is a length",
		"Transfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
		"400",
		nil,
	},
	{"HTTP/0.9", "^GET /a\r\n", "400", nil},
	{"HTTP/2 without TLS", "^PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", nil},
	{"CONNECT", "^CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + Smuggled, "400", nil},
}
