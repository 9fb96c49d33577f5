// Package table holds the sessions of one webapp at one node: which there are, what they
// are made of, how what others say of them is merged, when they end, and what is
// remembered of those that were invalidated. It knows neither members nor messages.
//
// Merge is commutative, associative and idempotent: of a register the value with the
// highest stamp stays, and a tombstone overrules a session. The digest of a bucket is the
// sum over its sessions and tombstones, kept with every change: equal digests mean equal
// state.
//
// Sessions lie in 4096 buckets, each with a lock. A [Bucket] is one that is locked: a caller that
// has got one by [Table.Lock] may read and change the sessions in it until Unlock. The methods of
// [Table] lock what they need themselves. Locks are taken in the order newcomers, bucket, cookie hash
// shard; those of names and graves are leaves. All is safe for concurrent use.
package table
