package server

import (
	"io/fs"
	"math"
	"net/netip"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nodeserver/nodeserver/channel/listen"
)

// maxNewcomers is how many sessions of an app a node holds whose cookie never came back: with
// more, the oldest end. At 400 bytes each, a flood of them takes 25 MiB; one of 10,000 a second
// leaves an honest newcomer 6 s to come back, who else begins again.
const maxNewcomers = 64 << 10

// sessionBytes is what a session is reckoned with where its limit comes from memory: an empty one
// takes some 400 bytes.
const sessionBytes = 1 << 10

// sessionLimit is how many sessions of an app the node takes, 0: no limit, and where
// that comes from: the conf, or a quarter of the memory that the node may have.
func sessionLimit(configured int, root fs.FS, goLimit int64) (limit int, from string) {
	switch {
	case configured > 0:
		return configured, "sessions.max_sessions"
	case configured < 0:
		return 0, "sessions.max_sessions"
	}
	memory, from := memoryLimit(root, goLimit)
	if memory == 0 {
		return 1 << 20, "default, the memory is not known"
	}
	return int(max(1, memory/4/sessionBytes)), "a quarter of " + from
}

// memoryLimit is the least of the limits in force, in bytes, and what it is; 0: none is known.
// root is the file system, of which it reads /proc and /sys/fs/cgroup.
func memoryLimit(root fs.FS, goLimit int64) (least int64, from string) {
	take := func(n int64, name string) {
		if n > 0 && (least == 0 || n < least) {
			least, from = n, name
		}
	}
	for line := range lines(root, "proc/meminfo") {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 53)
			take(kib<<10, "the machine's memory")
		}
	}
	for line := range lines(root, "proc/self/cgroup") {
		_, rest, _ := strings.Cut(line, ":")
		controllers, group, _ := strings.Cut(rest, ":")
		for at := path.Clean("/" + group); ; at = path.Dir(at) { // those above bind, too
			switch controllers {
			case "": // version 2
				take(bytesIn(root, path.Join("sys/fs/cgroup", at, "memory.max")), "the cgroup's memory.max")
			case "memory":
				take(bytesIn(root, path.Join("sys/fs/cgroup/memory", at, "memory.limit_in_bytes")), "the cgroup's memory.limit_in_bytes")
			}
			if at == "/" {
				break
			}
		}
	}
	if goLimit < math.MaxInt64 {
		take(goLimit, "GOMEMLIMIT")
	}
	return least, from
}

func lines(root fs.FS, name string) func(func(string) bool) {
	b, _ := fs.ReadFile(root, name) // not there: no lines
	return strings.SplitSeq(strings.TrimSpace(string(b)), "\n")
}

// bytesIn is the number in a file, 0 if there is none or it stands for no limit.
func bytesIn(root fs.FS, name string) int64 {
	b, _ := fs.ReadFile(root, name)
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return n
}

// goMemoryLimit is GOMEMLIMIT in bytes.
func goMemoryLimit() int64 { return debug.SetMemoryLimit(-1) }

// newRate bounds the new sessions that one client address may begin: as many a minute as
// the limit says, and as many at once. A nil one has no limit. Safe for concurrent use.
//
// It forgets an address after one to two minutes, when its budget is whole again, or
// when it has seen many thousand others since.
type newRate struct {
	perMinute float64

	mu            sync.Mutex
	since         time.Time
	latest, older map[netip.Addr]budget
}

// budget is what an address has left.
type budget struct {
	left float64
	at   time.Time
}

// maxAddresses is how many addresses each half of a newRate remembers: 2 MiB.
const maxAddresses = 16 << 10

func newNewRate(perMinute int) *newRate {
	if perMinute <= 0 {
		return nil
	}
	return &newRate{perMinute: float64(perMinute)}
}

// take takes one new session from the address's budget. Where there is none left, wait is after
// what time there will be.
func (r *newRate) take(addr netip.Addr, now time.Time) (wait time.Duration) {
	if r == nil || !addr.IsValid() || addr.IsLoopback() {
		return 0
	}
	addr = listen.Client(addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.since) > time.Minute || len(r.latest) >= maxAddresses {
		r.since, r.older, r.latest = now, r.latest, map[netip.Addr]budget{}
	}
	b, ok := r.latest[addr]
	if !ok {
		if b, ok = r.older[addr]; !ok {
			b = budget{r.perMinute, now}
		}
	}
	b.left, b.at = min(b.left+now.Sub(b.at).Minutes()*r.perMinute, r.perMinute), now
	if b.left < 1 {
		wait = time.Duration((1 - b.left) / r.perMinute * float64(time.Minute))
	} else {
		b.left--
	}
	r.latest[addr] = b
	return wait
}
