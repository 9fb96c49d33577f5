package loadgen

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// usage is CPU time used up to a moment.
type usage struct {
	at      time.Time
	servers time.Duration // of the processes that are measured
	own     time.Duration // of this one
	machine time.Duration // of all
}

// measure reads the clocks. Processes that have ended count nothing.
func measure(pids []int) usage {
	u := usage{at: time.Now(), own: cpuOf(os.Getpid()), machine: machineCPU()}
	for _, pid := range pids {
		u.servers += cpuOf(pid)
	}
	return u
}

// cpuOf is the CPU time, user and system, of all threads of a process. On
// loopback the receiving side's interrupts are in it.
func cpuOf(pid int) time.Duration {
	const perProcess = 2 // CPUCLOCK_SCHED, as clock_getcpuclockid has it
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|perProcess, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano()) + childrenCPU(pid)
}

// childrenCPU is that of children that have ended, like those which Redis forks.
func childrenCPU(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	text := string(b)
	var ticks, user, system int64
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) < 15 {
		return 0
	}
	_, _ = fmt.Sscan(f[13], &user) // the kernel writes numbers
	_, _ = fmt.Sscan(f[14], &system)
	ticks = user + system
	return time.Duration(ticks) * tick
}

// tick is the unit of /proc/stat: USER_HZ is 100 on Linux.
const tick = 10 * time.Millisecond

// machineCPU is the time that all cores have been busy.
func machineCPU() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	var busy time.Duration
	for i, f := range strings.Fields(line)[1:] {
		var n int64
		_, _ = fmt.Sscan(f, &n)
		if i != 3 && i != 4 && i < 8 { // 3, 4: idle, waiting for disks; from 8: counted before
			busy += time.Duration(n) * tick
		}
	}
	return busy
}

// Idle waits until the servers do next to nothing, or limit is over: what they put
// off has been done then.
func Idle(ctx context.Context, t Target, limit time.Duration) {
	const step = 100 * time.Millisecond
	// CPU in a step, of all processes: somewhat more than what they use anyway.
	quiet := time.Duration(5+len(t.PIDs))*time.Millisecond + time.Duration(1.5*t.Idle*float64(step))
	was := measure(t.PIDs)
	for start, calm := was.at, 0; calm < 3 && time.Since(start) < limit && ctx.Err() == nil; {
		pause(ctx, step)
		is := measure(t.PIDs)
		calm++
		if is.servers-was.servers > quiet {
			calm = 0
		}
		was = is
	}
}

// Cores is how many cores the processes use, measured for d.
func Cores(ctx context.Context, pids []int, d time.Duration) float64 {
	start := measure(pids)
	pause(ctx, d)
	end := measure(pids)
	return (end.servers - start.servers).Seconds() / end.at.Sub(start.at).Seconds()
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
