// Package channel joins nodes into a group and moves opaque payloads between them, on named topics.
// The package does not know what payloads mean, and it knows nothing of the network: a Transport
// (package grpctransport) carries what it sends.
//
// # Finding and linking
//
// Providers propose addresses, and members announce to each other the members they know; the
// channel dials all of these addresses. A hello proves that two nodes may talk: they have the same
// cluster name, a common wire version, and names that no other node has. Then each of the two dials
// the other with two streams: live for small and urgent payloads, bulk for all others.
//
//	a                                   b
//	  hello ->            <- welcome        a has reached b, and b now knows a
//	  start live, bulk ->                   two streams of the link
//	  welcome ->            <- hello        b has reached a
//	                <- start live, bulk     four streams: the link is up, for both
//	  frames, heartbeats ->    <- frames, heartbeats
//
// The rule of mutual knowledge: a link is up on a node when the node's own two streams were
// welcomed and the two streams of the peer have started. So payloads only go where the way back
// works. When one of the four streams breaks, each side ends all of them, and the two nodes begin
// anew: Handler.Connected always means a clean start.
//
// # Topics
//
// Topics come and go while the channel runs. A topic is there between two nodes while both have it:
// the start of a stream names those that its sender has, and heartbeats name them again when they
// have changed, so no link breaks for it. Each time that a node adds a topic it is another incarnation, with
// a number of its own. A node that hears of an incarnation tells its handler (Connected) and then answers
// with a number; the other marks its payloads with that, and sends none before. So a handler never
// gets a payload of an incarnation that has ended, whichever stream it was on, and never one that was sent
// before it knew the sender. Of topics that both had when the link began the number is 0.
//
//	a has topic t                       b adds topic t
//	                <- t: incarnation 7          Connected(a) at b: it knew of a's incarnation 3
//	  t: incarnation 3, takes 7 as number 1 ->   Connected(b) at a; b may send now
//	                <- t: incarnation 7, takes 3 as number 1     a may send now
//
// # Guarantees
//
// Payloads of one class over one link arrive in order, each exactly once, and have been applied
// when Receive returns. Between classes there is no order. When a link breaks, the payloads under
// way are lost on both sides alike; a handler that needs them numbers its payloads and starts again
// at Connected. A node that joins gets a call of Connected and nothing else; its topics bring what
// it lacks.
//
// The channel has no queues: a sender pulls payloads from handlers when its stream can take them,
// up to 256 KiB at a time, and the stream's flow control holds the sender back while the receiver
// is busy. A payload that is longer than a message goes in pieces. A slow member costs a window of
// one megabyte per stream, and slows no other member. Wakes that are not urgent wait for
// Config.BatchDelay, so that several payloads share a frame, because a wake-up costs more than the
// bytes.
//
// The calls of a handler about one name come in the order of the events: Connected, then Pull and
// Receive, then Disconnected, and possibly Gone; for a new incarnation of a name only after the end
// of the old one. The channel holds no lock during these calls.
//
// # Failure
//
// A member that is silent for SuspectAfter, or whose link breaks, is probed, directly and through
// two other members; package membership's View decides which members are gone. A killed process is
// gone within the time of one connection attempt, a frozen or cut-off one within DownAfter. A
// suspect that other members reach stays a suspect: its link is down, but it is not gone. Dialling
// goes on, so the same incarnation returns from gone as soon as the network is whole: a split needs
// no other cure in this package. A name has one incarnation at a time: a new one takes over from
// one that is gone, suspect or disconnected, and is refused while the old one is alive. An
// incarnation that was superseded stays out, and its Problem says so.
//
// Differences that only an operator can settle (cluster name, secret, wire version, duplicate name)
// are logged on both nodes, once until they change.
//
// # Map
//
// One lock guards what changes, the type state; goroutines hold it for a moment only, and call
// neither handlers nor the transport meanwhile. Which addresses to dial, and when (dialing.go,
// settle.go), which log lines to write (log.go), and which members are alive (membership.View) is
// decided by code without clock, goroutines or I/O. Around it: dial.go dials, accept.go answers,
// link.go joins the four streams, pair.go the topics of two nodes, sender.go and receiver.go move payloads, probe.go probes
// suspects, watch.go shows the member list. channel_test.go runs whole clusters in virtual time.
package channel
