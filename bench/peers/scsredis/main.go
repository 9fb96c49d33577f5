// Command scsredis is scs with its sessions in one Redis.
package main

import (
	"flag"

	"github.com/alexedwards/scs/goredisstore"
	"github.com/redis/go-redis/v9"

	"github.com/nodeserver/nodeserver/bench/peers/peer"
)

func main() {
	c := peer.Flags()
	flag.Parse()
	client := redis.NewClient(&redis.Options{Addr: c.Redis})
	peer.Exit(peer.Run(c, peer.NewSCS(goredisstore.New(client))))
}
