// Package channel joins nodes into a group and moves opaque payloads between
// them, on named topics. It knows nothing of what payloads mean, and nothing of
// the network: a Transport (package grpctransport) carries what it sends.
//
// # Finding and linking
//
// Providers propose addresses, and members tell each other whom they know; the
// channel dials all of them. A hello proves that two nodes may talk: same
// cluster name, a common wire version, a name that nobody else has. Then each
// of the two dials the other, two streams each: live for what is small and
// urgent, bulk for the rest.
//
//	a                                   b
//	  hello ->            <- welcome        a has reached b, which now knows a
//	  start live, bulk ->                   two streams of the link
//	  welcome ->            <- hello        b has reached a
//	                <- start live, bulk     four streams: the link is up, for both
//	  frames, heartbeats ->    <- frames, heartbeats
//
// The rule of mutual knowledge: a link is up on a node when its own two streams
// were welcomed and the other's two have started. So payloads only ever go
// where the way back works. When one of the four breaks, each side ends all of
// them, and the two begin anew: Handler.Connected always means a clean start.
//
// # Guarantees
//
// Payloads of one class over one link arrive in order, each once, and have been
// applied when Receive returns. Between classes there is no order. When a link
// breaks, what was under way is lost on both sides alike; handlers that care
// number their payloads and start again at Connected. A joiner gets nothing
// but Connected; what it lacks is its topics' business.
//
// Nothing is queued here: a sender pulls payloads from handlers when its stream
// can take them, up to 256 KiB at a time, and the stream's flow control
// holds it back while the receiver is busy. A payload that is longer than a
// message goes in pieces. A slow member costs a window of one megabyte per
// stream, and slows nobody else. Wakes that aren't urgent wait
// Gather for company, because a wake-up costs more than the bytes.
//
// Calls of a handler about one name come in the order in which things happened:
// Connected, then Pull and Receive, then Disconnected, perhaps Gone; for a new
// incarnation of a name only after the end of the old one. No lock is held meanwhile.
//
// # Failure
//
// Whoever is silent for SuspectAfter, or whose link breaks, is probed, directly
// and through two others; package membership's View decides who is gone. A
// killed process is gone in the time of one connection attempt, a frozen or
// cut-off one within DownAfter. A suspect that others reach stays suspect: its
// link is down, but it isn't dead. Dialling goes on, so the same incarnation comes
// back from Gone as soon as the network is whole: a split needs no other cure
// here. A name has one incarnation at a time: a new one takes over from one that is
// dead, suspect or disconnected, and is refused while that is alive; an incarnation
// that was taken over from stays out (Problem tells it so).
//
// Differences that only an operator can settle (cluster name, secret, wire
// version, duplicate name) are logged on both nodes, once until they change.
//
// See channel_test.go for whole clusters in virtual time.
package channel
