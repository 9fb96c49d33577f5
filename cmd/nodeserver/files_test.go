package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nodeserver/nodeserver/conf"
	"github.com/nodeserver/nodeserver/server/keys"
)

func TestSecretNew(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	if code, stdout, stderr := nodeserver(
		t, nil, "secret", "new", name,
	); code != exitGood || !strings.HasPrefix(stdout, name+": new") ||
		stderr != "" {
		t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.ReadSecret(name); err != nil {
		t.Errorf("the file is not accepted as a secret: %v", err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	code, _, stderr := nodeserver(t, nil, "secret", "new", name)
	if want := "nodeserver: " + name + " is there already: a secret is never overwritten, since nodes may be using it\n"; code != exitNot ||
		stderr != want {
		t.Errorf("second time: exit code %d, %q", code, stderr)
	}
	if again, err := os.ReadFile(name); err != nil || string(again) != string(text) {
		t.Errorf("second time: the file was changed (%v)", err)
	}
}

func TestSecretRotate(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "secret"), filepath.Join(dir, "link")
	old := keys.New()
	if err := errors.Join(os.WriteFile(file, []byte(old+"\n"), 0o400), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	run := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := nodeserver(t, nil, append([]string{"secret"}, args...)...)
		if code != want || !strings.Contains(stdout+stderr, says) || strings.Contains(stdout+stderr, old) {
			t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o400 {
			t.Errorf("mode %v, %v, want 0400 as before", info.Mode(), err)
		}
		if list, err := os.ReadDir(dir); err != nil || len(list) != 2 {
			t.Errorf("left over: %v, %v", list, err)
		}
	}
	run(exitNot, "has one secret", "retire", file)
	run(exitGood, "still good", "rotate", link)
	two, err := keys.ReadSecrets(file)
	if err != nil || len(two) != 2 || two[0].Text() == old || two[1].Text() != old {
		t.Fatalf("after rotate: %d secrets, %v", len(two), err)
	}
	run(exitNot, "has two secrets already", "rotate", file)
	run(exitGood, "only the secret "+two[0].ID(), "retire", link)
	if one, err := keys.ReadSecrets(file); err != nil || len(one) != 1 || !one[0].Equal(two[0]) {
		t.Errorf("after retire: %d secrets, %v", len(one), err)
	}
	if target, err := os.Readlink(link); err != nil || target != file {
		t.Errorf("the link leads to %s, %v", target, err)
	}
}

func TestInit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	code, stdout, stderr := nodeserver(t, nil, "init", dir, "--nodes", "4")
	if code != exitGood || stderr != "" {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	used := map[string]bool{}
	use := func(addresses ...string) {
		for _, a := range addresses {
			if used[a] {
				t.Errorf("address %s is there twice", a)
			}
			used[a] = true
		}
	}
	for i := 1; i <= 4; i++ {
		name := filepath.Join(dir, fmt.Sprintf("n%d.toml", i))
		cfg, origins, err := conf.Load(name, nil, nil)
		if err != nil || len(origins.Warnings) > 0 {
			t.Fatalf("%v, %v", err, origins)
		}
		use(cfg.HTTP.Address, cfg.Admin.Address, cfg.Channel.Address)
		if cfg.Cluster.SecretFile != filepath.Join(dir, "secret") || cfg.Membership.Static[i-1] != cfg.Channel.Address ||
			len(cfg.Membership.Static) != 4 {
			t.Errorf("%s: %+v", name, cfg)
		}
		if !strings.Contains(stdout, "nodeserver run --conf "+name+"\n") {
			t.Errorf("it is not told how to start %s:\n%s", name, stdout)
		}
	}
	cfg, _, err := conf.Load(filepath.Join(dir, "balance.toml"), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	use(cfg.Balance.Address)
	code, _, stderr = nodeserver(t, nil, "init", dir)
	if code != exitNot || !strings.Contains(stderr, "is there already: choose an empty folder") {
		t.Errorf("second time: exit code %d, %q", code, stderr)
	}
}
