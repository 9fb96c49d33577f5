package doctor

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const portMDNS = 5353

// holders says which programs have a UDP socket at the port, as far as this
// user may see them (Linux: proc(5)).
func holders(port int) string {
	inodes := map[string]bool{}
	for _, file := range []string{"/proc/net/udp", "/proc/net/udp6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) {
				inodes["socket:["+fields[9]+"]"] = true
			}
		}
	}
	if len(inodes) == 0 {
		return "free"
	}
	var names []string
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && inodes[to] {
			pid := strings.Split(link, "/")[2]
			name, _ := os.ReadFile("/proc/" + pid + "/comm") // may have ended
			names = append(names, strings.TrimSpace(string(name))+" ("+pid+")")
		}
	}
	slices.Sort(names)
	if names = slices.Compact(names); len(names) == 0 {
		return "shared with programs of other users"
	}
	return "shared with " + strings.Join(names, ", ")
}
