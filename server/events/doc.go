// Package events remembers what happened at a node, for operators: a bounded ring of sentences.
//
// It is fed by the log. A record with the attribute "event" is an event of that kind, whatever the
// log's level: the same line is written to the log and remembered here, so nothing is said
// twice. The kinds and their sentences are in Kinds; a sentence takes from the record only the
// attributes that it names, so no other value gets into an event.
//
// An event that is the same as one of the latest is counted there, and moves to the end.
package events
