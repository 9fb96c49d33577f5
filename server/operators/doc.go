// Package operators guards what a node or a balancer has for operators: who may call a
// route, from where, and what is written down of it.
//
// A [Guard] serves a table of [Route]s and nothing else. Each request passes, in this order:
//
//	Host                 names this machine, else 421: a page of a browser that reached
//	                     the address by a name of its own (DNS rebinding) gets nothing
//	Origin               is this address or none, else 403: no page from elsewhere asks
//	path and method      404, 405; a GET never changes anything
//	token                401 without one, or with one that is not known
//	role                 403
//
// Routes for [Anyone] (health) are outside of all that. What is refused changes nothing; each
// change that is carried out, and each that is refused, is a line of the log with msg=audit.
//
// A browser logs in once ([Browsers]), by a token or by a link that is good once. Its cookie then
// stands for the token; a change wants an Origin and the token of its form, too.
//
// Tokens are 256 random bits (package keys). A tokens file holds their SHA-256 only. Where
// the conf names no file, reads need no token, since the address is on loopback, and the
// node makes a token for changes at each start, see [Guard.Start].
package operators
