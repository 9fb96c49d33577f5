// Package cluster starts the servers that are compared, each as users would run
// it: real processes, on 127.0.0.1, with the defaults of their documentation
// where a default is good for it. It knows for each kind how to start it, when it
// is whole, how much memory it holds, and how to end it.
//
// All kinds:
//
//	plain           net/http without sessions (package peers/plain), one process
//	plain-3         the same three times, users spread over them as over nodes
//	scs-mem         scs in memory, one copy of a session
//	scs-redis       scs and one Redis with Debian's snapshots
//	gorilla-redis   gorilla/sessions and the same
//	nats-kv         scs over JetStream KV, three replicas in memory
//	tomcat-async    Tomcat 10.1, DeltaManager, channelSendOptions 8 (its default)
//	tomcat-sync     the same with channelSendOptions 6: waits for every member
//	nodeserver-...  bin/nodeserver with webapp bench as a plugin
//
// A kind that can't run here says why: it is to be reported as missing.
//
// Every process started here dies with this program, however that ends; Stop ends
// those of one cluster and waits for them. Nothing is found by name: a process is
// only ever signalled by the id it was started under, while it is a child.
package cluster
