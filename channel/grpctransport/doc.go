// Package grpctransport carries package channel over gRPC, and is the only
// place of the data plane that knows gRPC and the wire's generated types.
//
// A member that dials another has one HTTP/2 connection with the two streams of
// its half of a link; probes have connections of their own. What a slow
// receiver leaves unread is bounded per stream, and connection windows are
// large enough that a full bulk stream never holds up a live one.
//
// # Security
//
// Mutual TLS 1.3, nothing else, from one of two sources. SecretCredentials
// makes the same CA on each node from a seed of the cluster's secret (an Ed25519
// key); each node issues itself certificates of a day, and renews them
// at half their time. They carry the member's name, which must be the one in
// its hello. Whoever has the secret can be any member: it proves membership,
// the names only catch mistakes. Everybody who connects is shown a
// certificate that the CA signed, so candidates for a seed can be tried offline:
// a seed must come from a secret that nobody can guess, and this package takes
// nothing that is shorter or longer than one. The cluster's name is no part of it, so that a
// wrong name can be told from a wrong secret. PKICredentials uses the
// operator's own files instead, with the usual check of the host dialled, and
// takes only certificates with a name that the operator allows (ParseAllowed):
// such a name also is the only one that the member may have in its hello.
// Insecure has neither encryption nor proof: for loopback, or where everybody
// who reaches the port is trusted.
//
// gRPC tells a client why it could not connect in words only, and a server's
// program not at all; handshake.go keeps the causes, so that a wrong secret, or
// TLS on one side only, is said on both sides as channel.ErrSecret and
// channel.ErrPlain.
//
// # Failure
//
// Errors end calls, never the transport, except that Serve ends when its
// listener does. A message of a kind that this version doesn't know comes out
// empty, and is ignored by the channel.
package grpctransport
