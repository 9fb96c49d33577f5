package main

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/nodeserver/nodeserver/bench/cluster"
	"github.com/nodeserver/nodeserver/bench/record"
)

// machine says what this runs on.
func machine() record.Machine {
	m := record.Machine{
		Cores:  runtime.NumCPU(),
		CPU:    after("/proc/cpuinfo", "model name\t: "),
		System: strings.Trim(after("/etc/os-release", "PRETTY_NAME="), `"`),
	}
	var kib int64
	if _, err := fmt.Sscan(after("/proc/meminfo", "MemTotal:"), &kib); err == nil {
		m.Memory = kib << 10
	}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	return m
}

// after is the rest of the first line of a file that begins with the text.
func after(file, text string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, text); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// versions are those of everything that is compared, as the programs themselves
// say where they can.
func versions(env cluster.Env) map[string]string {
	v := map[string]string{"go": runtime.Version()}
	for name, words := range map[string][]string{
		"redis": {"redis-server", "--version"},
		"java":  {"java", "--version"},
		"tomcat": {
			"java", "-cp",
			env.Tomcat + "/lib/catalina.jar:" + env.Tomcat + "/bin/tomcat-juli.jar:" + env.Tomcat + "/lib/tomcat-util.jar",
			"org.apache.catalina.util.ServerInfo",
		},
		"nodeserver": {env.Nodeserver, "version"},
	} {
		out, err := exec.Command(words[0], words[1:]...).Output()
		if err == nil {
			line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			v[name] = strings.TrimPrefix(line, "Server version: ")
		}
	}
	out, err := exec.Command("git", "-C", env.Source, "describe", "--always", "--dirty").Output()
	if err == nil {
		v["nodeserver"] += ", commit " + strings.TrimSpace(string(out))
	}
	modules(env, v)
	return v
}

// modules adds those that the Go peers were built with.
func modules(env cluster.Env, v map[string]string) {
	compared := []string{
		"github.com/alexedwards/scs/v2",
		"github.com/alexedwards/scs/goredisstore",
		"github.com/redis/go-redis/v9",
		"github.com/gorilla/sessions",
		"github.com/boj/redistore",
		"github.com/nats-io/nats-server/v2",
		"github.com/nats-io/nats.go",
	}
	programs, _ := filepath.Glob(filepath.Join(env.Peers, "*")) // the pattern is good
	for _, p := range programs {
		info, err := buildinfo.ReadFile(p)
		if err != nil {
			continue
		}
		for _, d := range info.Deps {
			if slices.Contains(compared, d.Path) {
				v[d.Path] = d.Version
			}
		}
	}
}
