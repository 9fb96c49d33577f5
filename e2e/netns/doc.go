// Package netns gives tests small networks of their own, made of Linux network
// namespaces: hosts on a bridge, or one host with nothing but a loopback. Sent
// multicast stays inside, cables can be pulled, and nothing outside is touched:
// the bridge too lives in a namespace.
//
//	n := netns.New(t)
//	a, b := n.Host("a"), n.Host("b")           // 10.77.1.1/24, 10.77.1.2/24
//	cmd := a.Command(ctx, "nodeserver", "run") // a process on host a
//	a.Do(func() { l, err = net.Listen(…) })    // or code of the test itself
//	b.Unplug(); b.Plug()                       // no carrier, routes stay
//
// It needs Linux, root and the ip command of iproute2. A test that asks for a
// network where one can't be made fails and says what to install; with
// NODESERVER_NO_NETNS=1 in the environment it is listed as not run instead.
//
// # Cleaning up
//
// At the end of the test every process in the namespaces is killed, also
// grandchildren, and the namespaces are deleted, with them all interfaces. The
// names hold the process id of the test; what a killed test run left behind is
// deleted by the next one that makes a network.
//
// # What it isn't
//
// No firewall, no loss or delay, no IPv6 addresses beyond link-local ones, no
// routes between networks. File systems and process ids are shared with the
// machine.
package netns
