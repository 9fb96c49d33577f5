package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// killer is for demonstrations: nodes of one machine write their process ids to a folder, so that
// the console of one can end another as kill -9 does.
type killer struct{ dir string }

// enter notes the process of this node.
func (k killer) enter(node string) error {
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(k.file(node), []byte(strconv.Itoa(os.Getpid())), 0o600)
}

func (k killer) file(node string) string { return filepath.Join(k.dir, node+".pid") }

// kill ends a node that runs this same binary.
func (k killer) kill(node string) error {
	if node == "" || strings.ContainsAny(node, "./") {
		return fmt.Errorf("%.64q is no node's name", node)
	}
	text, err := os.ReadFile(k.file(node))
	if err != nil {
		return fmt.Errorf("%s is not of this demonstration: %w", node, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s holds no process id", k.file(node))
	}
	own, err := os.Readlink("/proc/self/exe")
	its, wrong := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err = errors.Join(err, wrong); err != nil || its != own {
		return fmt.Errorf("%s does not run any more", node)
	}
	p, err := os.FindProcess(pid)
	if err == nil {
		err = p.Kill()
	}
	return err
}
