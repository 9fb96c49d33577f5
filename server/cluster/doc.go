// Package cluster is what a node and a front door have in common: how they prove who they
// are, how they find members, at what addresses others reach them, how much strangers may hold
// open, and who is an operator. Both are told by a conf; errors name its keys.
package cluster
