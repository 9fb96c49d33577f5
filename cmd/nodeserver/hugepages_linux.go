package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// hugePages has the system back the heap by pages of 2 MiB where it does so for
// those who ask (transparent_hugepage "madvise"; many systems do it unasked), and goes
// on doing so until ctx ends. A process that is killed keeps its connections until the
// last page of its memory is given back, and only then can anybody know that it is
// gone; a 500th of the pages takes a third of the time.
func hugePages(ctx context.Context) {
	room := make([]byte, heapRoom)
	end := adviseHeap(0)
	runtime.KeepAlive(room)
	runtime.GC() // what comes next is allocated where the room was
	go func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				end = adviseHeap(end)
			case <-ctx.Done():
				return
			}
		}
	}()
}

// heapRoom is mapped before it is needed: pages that were touched before the
// system was asked stay small for long.
const heapRoom = 128 << 20

// adviseHeap asks for the heap, if it ends elsewhere than before, and returns its end.
// Where the system knows no huge pages, it says no, and all is as it was.
func adviseHeap(before uint64) (end uint64) {
	parts := heapParts()
	if len(parts) > 0 {
		end = parts[len(parts)-1].end
	}
	if end == before {
		return end
	}
	for _, p := range parts {
		_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, uintptr(p.start), uintptr(p.end-p.start), madvHugePage)
	}
	return end
}

const madvHugePage = 14 // as in madvise(2)

type addresses struct{ start, end uint64 }

// heapParts are the mapped parts of the heap, from proc(5)'s maps: the one that
// holds what was just allocated, and what is near it. The runtime's own tables are far
// away, and thinly used: huge pages would only make them larger.
func heapParts() (parts []addresses) {
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	inside := uint64(reflect.ValueOf(f).Pointer())
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var p addresses
		var access string
		_, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &p.start, &p.end, &access)
		if err == nil && strings.HasPrefix(access, "rw") && p.end > inside-near && p.start < inside+near {
			parts = append(parts, p)
		}
	}
	return parts
}

const near = 64 << 30
