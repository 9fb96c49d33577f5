// Package grpctransport carries package channel over gRPC. In the data plane it is the only package
// that knows gRPC and the generated types of the wire.
//
// A member that dials another one has one HTTP/2 connection with the two streams of its half of a
// link; probes have connections of their own. The bytes that a slow receiver leaves unread are
// bounded per stream, and connection windows are large enough that a full bulk stream never holds
// up a live one.
//
// # Security
//
// Nodes speak mutual TLS 1.3 and nothing else, with certificates from one of two sources.
//
// SecretCredentials makes the same CA on each node from a seed of the cluster's secret (an Ed25519
// key). Each node issues itself certificates for one day, and renews them after half of their time.
// They carry the member's name, which must be the name in its hello. A node that has the secret can
// take any name: the secret proves membership, the names only catch mistakes. Every client that
// connects receives a certificate that the CA signed, so candidates for a seed can be tried
// offline: a seed must come from a secret that nobody can guess, and this package accepts only
// seeds of the exact length. The cluster's name is no part of the seed, so that a wrong name can be
// distinguished from a wrong secret.
//
// PKICredentials uses the operator's own files instead, with the usual check of the dialled host,
// and accepts only certificates with a name that the operator allows (ParseAllowed): such a name is
// also the only one that the member may have in its hello.
//
// Insecure has neither encryption nor proof: for loopback, or where everybody who reaches the port
// is trusted.
//
// gRPC gives a client the reason of a failed connection as text only, and a server no reason at
// all; handshake.go keeps the causes, so that both sides report a wrong secret as
// channel.ErrSecret, and TLS on one side only as channel.ErrPlain.
//
// # Failure
//
// Errors end calls, never the transport, except that Serve ends when its listener does. A message
// of a kind that this version doesn't know comes out empty, and the channel ignores it.
package grpctransport
