package session

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestSessionLimitComesFromMemory(t *testing.T) {
	const mib = int64(1 << 20)
	machine := "MemTotal:       16777216 kB\nMemFree: 1 kB\n"
	for what, c := range map[string]struct {
		conf    int
		files   map[string]string
		goLimit int64
		want    int
		from    string
	}{
		"conf":          {conf: 7, files: map[string]string{"proc/meminfo": machine}, want: 7, from: "sessions.max_sessions"},
		"none":          {conf: -1, files: map[string]string{"proc/meminfo": machine}, want: 0, from: "sessions.max_sessions"},
		"nothing known": {want: 1 << 20, from: "default, the memory is not known"},
		"machine":       {files: map[string]string{"proc/meminfo": machine}, want: 4 << 20, from: "a quarter of the machine's memory"},
		"GOMEMLIMIT":    {files: map[string]string{"proc/meminfo": machine}, goLimit: 512 * mib, want: 128 << 10, from: "a quarter of GOMEMLIMIT"},
		"cgroup v2, the parent's": {files: map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/memory.max": "1073741824\n",
		}, want: 256 << 10, from: "a quarter of the cgroup's memory.max"},
		"cgroup v1": {files: map[string]string{
			"proc/meminfo": machine, "proc/self/cgroup": "5:cpu:/x\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "536870912\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
		}, want: 128 << 10, from: "a quarter of the cgroup's memory.limit_in_bytes"},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if c.goLimit == 0 {
			c.goLimit = math.MaxInt64
		}
		if n, from := sessionLimit(c.conf, root, c.goLimit); n != c.want || from != c.from {
			t.Errorf("%s: %d from %s, want %d from %s", what, n, from, c.want, c.from)
		}
	}
}
