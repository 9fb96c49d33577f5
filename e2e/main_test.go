package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Where make leaves what is tested.
var (
	bin    = absolute("../bin/nodeserver")
	webapp = absolute("../bin/webapps")
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "nodeserver-e2e-")
	if err == nil {
		err = errors.Join(os.Setenv("XDG_RUNTIME_DIR", dir), build()) // for the tokens of nodes
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir) // nothing depends on it any more
	os.Exit(code)
}

// build has make build what is older than its sources.
func build() error {
	cmd := exec.Command("make", "-C", "..", "build", "webapps")
	cmd.Env = environment("MAKEFLAGS", "MFLAGS", "MAKELEVEL") // we may be a child of make ourselves
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make build webapps: %w\n%s", err, out)
	}
	_, err := os.Stat(bin) // so go test knows that its result depends on it
	return err
}

// environment is ours without some variables, and without those that would
// change the nodes' configuration.
func environment(without ...string) (env []string) {
next:
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "NODESERVER_") {
			continue
		}
		for _, name := range without {
			if strings.HasPrefix(v, name+"=") {
				continue next
			}
		}
		env = append(env, v)
	}
	return env
}

func absolute(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		panic(err)
	}
	return abs
}
