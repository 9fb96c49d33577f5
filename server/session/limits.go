package session

import (
	"io/fs"
	"math"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
)

// MaxNewcomers is how many sessions of an app a node holds whose cookie never came back: with
// more, the oldest end. At 400 bytes each, a flood of them takes 25 MiB; one of 10,000 a second
// leaves an honest newcomer 6 s to come back, who else begins again.
const MaxNewcomers = 64 << 10

// sessionBytes is what a session is reckoned with where its limit comes from memory: an empty one
// takes some 400 bytes.
const sessionBytes = 1 << 10

// Limit is how many sessions of an app the node takes, 0: no limit, and where that comes
// from: the conf's sessions.max_sessions, or a quarter of the memory that the node may have.
func Limit(configured int) (limit int, from string) {
	return sessionLimit(configured, os.DirFS("/"), goMemoryLimit())
}

// sessionLimit is Limit on this file system, with this GOMEMLIMIT in bytes.
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
