// Command nodeserver runs a node of a cluster, or asks one how it is.
//
//	nodeserver run --conf FILE        run a node until SIGTERM
//	nodeserver check --conf FILE      what is wrong with a configuration, or what is in force
//	nodeserver members --conf FILE    the members a running node sees
//	nodeserver help                   all the rest
//
// The package only parses, loads, starts and waits: what a node is stands in
// package server, how it is configured in package conf. Each verb has a file of
// its own; commands.go lists them, apps.go lists the webapps that are linked in.
//
// # Exit codes
//
//	0  done; for run: asked to stop, and left in order
//	1  not done: what went wrong stands on standard error
//	2  the command line itself is wrong
//	3  not everything could be done: what is left stands on standard error
//
// Results go to standard output, logs and complaints to standard error. A
// complaint is one line that starts with "nodeserver: ", except what is wrong
// with a configuration: those lines start with FILE:LINE:COLUMN, so that
// editors can jump to the place.
//
// # Signals
//
// SIGTERM or SIGINT ends the context of the command: run leaves the cluster in
// order (no new requests, those in flight end, what is not yet replicated is,
// the other members hear of it). A second one ends the process at once, with
// exit code 1.
package main
