package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The kernel says of each mapping for which huge pages were asked.
func TestHeapIsOfHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no huge pages: ", err)
	}
	p, _ := start(t)
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var size, advised uint64
	for line := range strings.Lines(string(text)) {
		var a addresses
		if n, _ := fmt.Sscanf(line, "%x-%x ", &a.start, &a.end); n == 2 {
			size = a.end - a.start
		} else if flags, ok := strings.CutPrefix(line, "VmFlags:"); ok && slices.Contains(strings.Fields(flags), "hg") {
			advised += size
		}
	}
	if advised < heapRoom {
		t.Errorf("huge pages were asked for %d bytes, want those of the heap and its room, %d", advised, heapRoom)
	}
}
