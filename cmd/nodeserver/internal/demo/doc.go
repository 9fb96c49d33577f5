// Package demo shows in a few seconds what a cluster is for, with nothing
// staged: it starts real node processes and a balancer from its own binary,
// lets visitors fill carts in the sample webapp cart, log in, and log out; ends the node that
// serves most of them with SIGKILL, starts it again, and checks every answer.
//
// It is not a test harness: e2e tests have the means to break networks. It
// needs the plugin cart.so and touches nothing but free loopback ports and a
// temporary folder, so a cluster that runs beside it is not disturbed.
//
// # What is checked
//
// Each visitor knows what must be in their cart and who they are, and each answer
// tells the number of items, their price, and their name:
//
//	as expected            good
//	as before the change   a lost write; so is any with fewer items
//	an empty cart          a lost session
//	anything else          an error
//	at the end             each visitor finds their cart on every node, asked
//	                       without the balancer
//
// PUT and GET that are under way when the node is killed are repeated by the balancer
// at another node, and nobody notices. A POST must not be: the balancer answers 502,
// and the visitor looks at their cart, as its text says. Their change may be there or not; either is
// right, and is counted as cut off, unless anything else is missing. A login
// that was cut off may have killed their old cookie without telling the new one: then they
// begin anew. The same answer without a kill is an error.
//
// Nodes run with replication acks = "one": a visitor has an answer when another
// node has applied their write. With "async" a write answered less than about 2 ms
// before the SIGKILL may be lost by design, and the demo would tell so.
//
// # Processes
//
// Children are started with a death signal, so they end with the demo even if
// that is killed, and in a process group of their own, so that Ctrl-C ends them
// in order. Run returns after all have ended. Their logs stay if the verdict is
// FAIL.
package demo
