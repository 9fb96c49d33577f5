// Package demo shows in a few seconds what a cluster is for, with nothing
// staged: it starts real node processes and a front door from its own binary,
// lets visitors count in the sample webapp counter, ends the node that serves
// most of them with SIGKILL, starts it again, and checks every answer.
//
// It is not a test harness: e2e tests have the means to break networks. It
// needs the plugin counter.so and touches nothing but free loopback ports and a
// temporary folder, so a cluster that runs beside it is not disturbed.
//
// # What is checked
//
//	each answer        exactly the visitor's last count + 1
//	less than that     a lost write
//	another session    a lost session
//	more than that     an error, but for a request under way when the node was
//	                   killed: the front door asks another node then, though the
//	                   first may have counted already. Those are told apart as
//	                   repeated.
//	at the end         each visitor's count goes on by one on every node, asked
//	                   without the front door
//
// Nodes run with replication acks = "one": a visitor has his answer when another
// node has applied his write. With "async" a write answered less than about 2 ms
// before the SIGKILL may be lost by design, and the demo would tell so.
//
// # Processes
//
// Children are started with a death signal, so they end with the demo even if
// that is killed, and in a process group of their own, so that Ctrl-C ends them
// in order. Run returns after all have ended. Their logs stay if the verdict is
// FAIL.
package demo
