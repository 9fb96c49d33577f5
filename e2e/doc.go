// Package e2e tests nodes as users and operators meet them: the real binary,
// real plugins, the sample files of conf/, real sockets, signals and cables.
// It has no code but tests.
//
//	lan_test.go     three hosts on a bridge, found by mDNS alone; a kill, a pulled cable
//	load_test.go    users who stay on their node, while all goes well
//	failover_test.go, freeze_test.go, stop_test.go
//	                kill -9, SIGSTOP and SIGCONT, SIGTERM under load
//	start_test.go   everything that keeps a node from starting, and what it says
//	races_test.go   one session on two nodes at once
//	acks_test.go    what a frozen member does to each ack mode
//
// # How it is built
//
// TestMain has make bring bin/nodeserver and bin/webapps up to date, so that
// "go test ./..." alone tests the sources as they are. A cluster is three
// processes of conf/node1.toml to node3.toml with ports of its own, by --set; a
// user is an HTTP client with a cookie jar that counts what it was promised.
//
// Nothing sleeps for luck: tests poll, to deadlines that a busy machine keeps,
// and log the figures that matter. Bounds that are part of the contract are
// asserted with room for a busy machine; what was measured is in the log (-v).
// When a test fails, the last lines of its nodes' logs are part of the output.
//
// # What it needs
//
// Linux, make, gcc. Hosts on a bridge need root and the ip command, see package
// netns. Every process is started by its test and ends with it, or with the
// test binary, however that ends.
package e2e
