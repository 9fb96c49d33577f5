// Package server is a node: the only place where the parts meet.
//
// A request comes in at its app's place (package deploy), and goes through the app's pipeline
// to the webapp and its session (package session). The delta manager's changes go to the
// channel by way of deploy's group, and come back from other members the same way.
//
// # Start and stop
//
// Run binds the three addresses first, so that a taken port ends the start
// before anything is announced to others; then admin, channel, discovery and delta
// managers run, and the HTTP listener answers 503 until the node is ready: until
// it has repaired with every member it can reach, or discovery has found no member.
// To stop, it turns not ready and draining, lets requests end within the grace, waits
// until the members have applied its changes, says good-bye, and closes the rest. An operator
// may have it drain before, or for a while: that says the same to others, and ends nothing.
//
// # Not here
//
// A request's way to its session (package session), which apps there are (package deploy), what
// operators see (package admin), what a balancer needs, too (package cluster), configuration
// files (package conf), replication (deltamanager), moving bytes (channel), finding and watching
// members (membership), and the balancer (balance).
package server
