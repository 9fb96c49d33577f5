package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// asNodeserver makes the test binary nodeserver, for tests that need a process.
const asNodeserver = "BE_NODESERVER"

func TestMain(m *testing.M) {
	if os.Getenv(asNodeserver) != "" {
		main()
		return
	}
	dir, err := os.MkdirTemp("", "nodeserver-cmd-")
	if err == nil {
		err = os.Setenv("XDG_RUNTIME_DIR", dir) // for the tokens of nodes
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // nothing depends on it any more
	os.Exit(code)
}

// command is nodeserver as a process, not started yet.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), exe, args...)
	c.Env = append(os.Environ(), asNodeserver+"=1")
	return c
}

// nodeserver runs a command line in this process.
func nodeserver(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, environ, &out, &err)
	return code, out.String(), err.String()
}

// file writes a file and returns its name.
func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandLines(t *testing.T) {
	const verbs = "apps, balance, build, check, completion, console, demo, dev, doctor, drain, events, init, lb-config, log-level, members, new, rolling-restart, run, secret, sessions, status, token, undrain, version"
	for _, c := range []struct {
		args   string
		code   int
		stderr string
	}{
		{"", 2, "nodeserver: say what to do, one of: " + verbs + "\nUsage: nodeserver (more: nodeserver --help)\n"},
		{"frob", 2, "nodeserver: there is no \"frob\" here, only: " + verbs + "\nUsage: nodeserver (more: nodeserver --help)\n"},
		{"--frob", 2, "nodeserver: unknown flag: --frob\nUsage: nodeserver (more: nodeserver --help)\n"},
		{"run", 2, "nodeserver: required flag(s) \"conf\" not set\nUsage: nodeserver run --conf FILE [--set KEY=VALUE]... (more: nodeserver run --help)\n"},
		{"run --conf a b", 2, "nodeserver: unknown command \"b\" for \"nodeserver run\"\nUsage: nodeserver run --conf FILE [--set KEY=VALUE]... (more: nodeserver run --help)\n"},
		{"run --conf", 2, "nodeserver: flag needs an argument: --conf\nUsage: nodeserver run --conf FILE [--set KEY=VALUE]... (more: nodeserver run --help)\n"},
		{"run --conf testdata/none.toml", 1, "nodeserver: read configuration: open testdata/none.toml: no such file or directory\n"},
		{"check", 2, "nodeserver: required flag(s) \"conf\" not set\nUsage: nodeserver check --conf FILE [--set KEY=VALUE]... (more: nodeserver check --help)\n"},
		{"secret", 2, "nodeserver: say what to do, one of: new, retire, rotate\nUsage: nodeserver secret (more: nodeserver secret --help)\n"},
		{"secret old x", 2, "nodeserver: there is no \"old\" here, only: new, retire, rotate\nUsage: nodeserver secret (more: nodeserver secret --help)\n"},
		{"secret new", 2, "nodeserver: accepts 1 arg(s), received 0\nUsage: nodeserver secret new FILE (more: nodeserver secret new --help)\n"},
		{"token new x --role root", 2, "nodeserver: --role: \"root\" is no role: use viewer or operator\nUsage: nodeserver token new NAME --role viewer|operator [--file TOKENS_FILE] [-o FILE] (more: nodeserver token new --help)\n"},
		{"init x --nodes 0", 2, "nodeserver: --nodes 0: a cluster on one machine has 1 to 32\nUsage: nodeserver init DIR [--nodes N] (more: nodeserver init --help)\n"},
		{"help", 0, ""},
		{"run --help", 0, ""},
		{"version", 0, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, stdout, stderr := nodeserver(t, nil, strings.Fields(c.args)...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if diff := cmp.Diff(c.stderr, stderr); diff != "" {
				t.Errorf("standard error differs (-want +got):\n%s", diff)
			}
			if (stdout != "") != (code == exitGood) {
				t.Errorf("standard output %q with exit code %d", stdout, code)
			}
		})
	}
}
