package cluster

import (
	"os/exec"
	"path/filepath"
	"time"
)

// Kinds are all that can be compared, in the order of the tables.
func Kinds() []Kind {
	list := []Kind{
		goPeer("plain", "net/http, no sessions"),
		goPeer("scs-mem", "scs in memory, one copy"),
		goPeer("scs-redis", "scs + Redis"),
		goPeer("gorilla-redis", "gorilla + Redis"),
		goPeer("nats-kv", "scs + embedded NATS JetStream KV"),
		tomcat("tomcat-async", "Tomcat DeltaManager, async", 8),
		tomcat("tomcat-sync", "Tomcat DeltaManager, sync", 6),
	}
	return append(list, nodeservers()...)
}

// Find finds a kind.
func Find(id string) (Kind, bool) {
	for _, k := range Kinds() {
		if k.ID == id {
			return k, true
		}
	}
	return Kind{}, false
}

func goPeer(id, title string) Kind {
	programs := map[string]string{
		"plain": "plain", "scs-mem": "scsmem", "scs-redis": "scsredis", "gorilla-redis": "gorillaredis", "nats-kv": "natskv",
	}
	redis := id == "scs-redis" || id == "gorilla-redis"
	return Kind{
		ID: id, Title: title, Sessions: id != "plain", Replicated: redis || id == "nats-kv", Warm: time.Second,
		Missing: func(e Env) string {
			if redis {
				if _, err := exec.LookPath("redis-server"); err != nil {
					return "redis-server is not installed (bench/setup.sh installs it)"
				}
			}
			return missingFiles(filepath.Join(e.Peers, programs[id]))
		},
		plan: func(c *Cluster) error { return planGo(c, programs[id], redis) },
	}
}
