package cluster

import (
	"os/exec"
	"path/filepath"
	"time"
)

// Kinds are all that can be compared, in the order of the tables.
func Kinds() []Kind {
	list := []Kind{
		alone(goPeer("plain", "net/http, no sessions, one process")),
		goPeer("plain-3", "net/http, no sessions, three processes"),
		goPeer("scs-mem", "scs in memory, one copy"),
		goPeer("scs-redis", "scs + Redis"),
		goPeer("gorilla-redis", "gorilla + Redis"),
		kept(goPeer("nats-kv", "scs + embedded NATS JetStream KV")),
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

// alone makes it a kind of one process.
func alone(k Kind) Kind {
	k.Size = 1
	return k
}

// kept makes it a kind that is started once.
func kept(k Kind) Kind {
	k.Kept = true
	return k
}

func goPeer(id, title string) Kind {
	programs := map[string]string{
		"plain":         "plain",
		"plain-3":       "plain",
		"scs-mem":       "scsmem",
		"scs-redis":     "scsredis",
		"gorilla-redis": "gorillaredis",
		"nats-kv":       "natskv",
	}
	redis := id == "scs-redis" || id == "gorilla-redis"
	return Kind{
		ID: id, Title: title, Size: 3, Sessions: programs[id] != "plain", Replicated: redis || id == "nats-kv", Warm: time.Second,
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
