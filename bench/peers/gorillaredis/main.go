// Command gorillaredis is gorilla/sessions with its sessions in one Redis.
package main

import (
	"flag"
	"net/http"

	"github.com/boj/redistore"
	"github.com/gorilla/sessions"

	"github.com/nodeserver/nodeserver/bench/peers/peer"
)

// key signs the cookies; the nodes share it. It guards nothing but this benchmark.
const key = "benchmark-benchmark-benchmark-32"

const poolSize = 10 // as in redistore's README

// maxLength lets sessions of 64 KB through; redistore refuses more than 4 KB by default.
const maxLength = 1 << 20

func main() {
	c := peer.Flags()
	flag.Parse()
	store, err := redistore.NewRediStore(poolSize, "tcp", c.Redis, "", "", []byte(key))
	if err != nil {
		peer.Exit(err)
	}
	store.SetMaxLength(maxLength)
	peer.Exit(peer.Run(c, gorilla{store}))
}

type gorilla struct{ store *redistore.RediStore }

func (g gorilla) Wrap(h http.Handler) http.Handler { return h }

func (g gorilla) Inc(w http.ResponseWriter, r *http.Request) (string, int, error) {
	s, err := g.store.Get(r, "session")
	if err != nil {
		return "", 0, err
	}
	n := number(s) + 1
	s.Values["n"] = n
	err = s.Save(r, w)
	return s.ID, n, err
}

func (g gorilla) Get(r *http.Request) (string, int, int, error) {
	s, err := g.store.Get(r, "session")
	if err != nil {
		return "", 0, 0, err
	}
	n, size := number(s), -1
	if blob, ok := s.Values["blob"].([]byte); ok {
		size = len(blob)
	}
	return s.ID, n, size, nil
}

func number(s *sessions.Session) int {
	n, _ := s.Values["n"].(int)
	return n
}

func (g gorilla) Set(w http.ResponseWriter, r *http.Request, blob []byte) (string, error) {
	s, err := g.store.Get(r, "session")
	if err != nil {
		return "", err
	}
	s.Values["blob"] = blob
	err = s.Save(r, w)
	return s.ID, err
}
