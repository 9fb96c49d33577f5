// Command scsmem is scs with its store in memory: sessions die with their node.
package main

import (
	"flag"

	"github.com/alexedwards/scs/v2/memstore"

	"github.com/nodeserver/nodeserver/bench/peers/peer"
)

func main() {
	c := peer.Flags()
	flag.Parse()
	peer.Exit(peer.Run(c, peer.NewSCS(memstore.New())))
}
