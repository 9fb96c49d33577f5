// Package membership knows the members of a cluster: what a member is ([Member], [ID]), where
// members may be found ([Provider]), and what one node believes about the others ([View]).
//
// # Finding
//
// A provider only proposes addresses; [Multicast], [Static], [DNS] and [File] do so, several at
// once if wished. The node believes nothing that a provider says: the channel dials the address,
// both sides prove that they hold the cluster's secret, and only the hello that follows makes a
// member. Members announce to each other the members they know, so that finding one is enough.
// Providers never report that a member is gone: a member that mDNS or DNS no longer lists stays a
// member as long as its channel works.
//
// Multicast asks and answers by mDNS on one network interface, in IPv4; a program that is not a
// member, like the balancer, only asks. Questions and answers go to the group. A packet counts only
// if it came by that interface, to the group, from an address of the interface's network; an answer
// also must come from the port of mDNS, with a hop limit of 255, which no router leaves unchanged
// (RFC 6762 sections 6 and 11). A packet proposes one address at most. However many questions come,
// a node answers three times at once and then once a second. Everybody on that network can still
// read the cluster's name, node names and addresses, and can send wrong ones; a wrong address costs
// a dial. Where multicast can't work, [CheckMulticast] says why and names the cure; such errors
// wrap [ErrNoMulticast], so that a node with static addresses can go on with these. A later failure
// is logged once, and Run recovers as soon as the network allows.
//
// # Deciding who is alive
//
// View is a pure function of events and their times; the channel drives it. Each node decides for
// itself; there is no vote and no leader:
//
//   - Heartbeats, and all other traffic, use the channel. A member that sends anything is alive.
//   - Silence for SuspectAfter, or at once the close of its connection, makes a member suspect:
//     still listed, but probed directly and through two other members.
//   - An answered probe keeps a suspect. A suspect is gone when a connection to it is refused,
//     when two probes get no answer, or after DownAfter without any sign of life.
//   - An announced leave, or a later incarnation of the same name, ends an incarnation without any
//     doubt.
//
// So a killed process is gone within tens of milliseconds, a frozen or cut-off one within
// DownAfter, and one whose connection merely broke is not lost. A node that was paused itself does
// not count its own pause against any member.
//
// # A split
//
// When the network splits, the members of each side become suspect and then gone for the other
// side, and each side goes on serving with the sessions it has: there is no quorum, so no side
// stops. Addresses stay known, dialling goes on, and when the network is whole again the same
// incarnations return from gone to alive; package deltamanager merges their sessions, and writes on
// both sides are no trouble for it. Where two nodes reach a third one but not each other, the two
// keep suspecting each other as long as the third one answers for them.
//
// # Limits
//
// There is no gossip and no consensus: each node talks to each other one, which suits tens of
// nodes. The package has no opinion on where sessions go. It is no transport: it sends nothing but
// mDNS and DNS questions and answers.
package membership
