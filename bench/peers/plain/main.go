// Command plain is net/http without sessions: what no server written in Go can
// be cheaper than.
package main

import (
	"flag"

	"github.com/nodeserver/nodeserver/bench/peers/peer"
)

func main() {
	c := peer.Flags()
	flag.Parse()
	peer.Exit(peer.Run(c, nil))
}
