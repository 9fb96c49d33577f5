// Package cluster is what a node and a balancer have in common: how they prove their identity, how
// they find members, at what addresses others reach them, how much strangers may hold open, and
// which requests are an operator's. Both come from a conf; errors name its keys.
package cluster
