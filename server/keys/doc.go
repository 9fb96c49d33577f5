// Package keys is all that makes something in a file worth trusting: secrets
// that cannot be guessed (Secret), and files that no other user can read or change
// (Read, ReadPrivate, Open).
//
// # Secrets
//
// A secret is 32 random bytes, written as text with a prefix and a checksum, so
// that one which a person invented, cut off or mistyped is told from one that was
// made by New. This matters: a node shows a certificate that is signed with a key
// derived from the cluster's secret to every client that connects. A stranger can
// try candidates on it at home, tens of thousands a second; 2^256 candidates are
// out of reach, a word or a phrase is not. No slow hash would cure that, it would
// only cost a guessed word a few hours more.
//
// A secret is never used as a key itself: Derive gives one for each purpose, by
// HKDF-SHA256 (RFC 5869).
package keys
