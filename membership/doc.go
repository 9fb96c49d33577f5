// Package membership knows who the members of a cluster are: what a member is
// ([Member], [ID]), where members may be found ([Provider]), and what one node
// believes about the life of the others ([View]).
//
// # Finding
//
// A provider only proposes addresses; [Multicast], [Static], [DNS] and [File]
// do so, several at once if wished. Nothing that a provider says is believed:
// the channel dials the address, both sides prove that they hold the cluster's
// secret, and only the Hello that follows makes a member. Members tell each
// other whom they know, so that one that is found is enough. Providers never
// report that somebody is gone: a member that mDNS or DNS has lost sight of
// lives on as long as its channel does.
//
// Multicast asks and answers by mDNS on one network interface, in IPv4; who is
// no member, like the front door, only asks. Questions and answers go to the group.
// A packet counts only if it came by that interface, to the group, from an address
// of its network; an answer also only from the port of mDNS and with a hop limit of
// 255, which no router leaves so (RFC 6762 sections 6 and 11). It proposes one
// address at most. However many questions come, a node answers three times at
// once and then once a second. Anybody on that very network can still read the
// cluster's name, node names and addresses, and can lie; a lie costs a dial. Where
// multicast can't work, [CheckMulticast] says why, in words that hold the cure, and
// its errors carry [ErrNoMulticast] for those who have static addresses to fall
// back on. A failure later is told once and put right as soon as the network allows.
//
// # Telling who is alive
//
// View is a pure function of events and the time they come at; the channel
// drives it. Each node judges for itself, there is no vote and no leader:
//
//   - Heartbeats, and all other traffic, ride on the channel. Who is heard is alive.
//   - Silence for SuspectAfter, or at once the close of its connection, makes a
//     member suspect: still listed, but probed directly and through two others.
//   - An answered probe keeps a suspect, a refused connection ends it, so do two
//     probes without answer, or DownAfter without any sign of life. It is gone.
//   - A leave that was announced, or a later incarnation of the same name, ends an incarnation
//     without any doubt.
//
// So a killed process is gone in tens of milliseconds, a frozen or cut off one
// in DownAfter at most, and one whose connection merely broke is not lost. A
// node that slept itself holds its own sleep against nobody.
//
// # A split
//
// When the network parts, each side sees the other become suspect and then gone,
// and goes on serving alone with the sessions it has: there is no quorum, so no
// side stops. Addresses stay known, dialling goes on, and when the network is
// whole again the same incarnations return from gone to alive; making their sessions
// one again is the business of package deltamanager, which has no trouble with
// writes on both sides. A split that lets each of two nodes reach a third, but
// not one another, leaves the two suspecting each other as long as the third
// answers for them.
//
// # What it isn't
//
// No gossip and no consensus: each node talks to each other one, which suits
// tens of nodes. No opinion on where sessions go. No transport: it sends nothing
// but mDNS and DNS questions.
package membership
