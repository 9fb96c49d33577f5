package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// prepare does what needs the network: installs and builds.
func (o *options) prepare() error {
	source := filepath.Join(o.repo, "bench")
	if o.setup {
		say("set-up: installing what is missing")
		if err := command(source, "./setup.sh"); err != nil {
			say("set-up: %v; what is missing will be left out, and reported", err)
		}
	}
	say("building the Go peers")
	if err := command(source, "go", "build", "-trimpath", "-o", "bin/", "./peers/..."); err != nil {
		return fmt.Errorf("build the Go peers: %w", err)
	}
	return nil
}

func command(dir, program string, args ...string) error {
	c := exec.Command(program, args...)
	c.Dir, c.Stdout, c.Stderr = dir, os.Stdout, os.Stderr
	return c.Run()
}

const insideVariable = "NODESERVER_BENCH_INSIDE"

// inside says whether this process runs in the namespace, or was told to go
// without one.
func inside() bool { return os.Getenv(insideVariable) != "" }

// enter runs this program again in a network namespace of its own and waits for
// it. False: there can't be one here, so go on as we are.
func enter() (done bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return false, err
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Env = append(os.Environ(), insideVariable+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	runtime.LockOSThread() // the death signal comes with the end of this thread
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := c.Start(); err != nil {
		say("no network namespace here (%v): using this machine's loopback", err)
		return false, nil
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = c.Process.Signal(s) // it ends in order and so does this
		case err := <-ended:
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				os.Exit(max(exit.ExitCode(), 1)) // it has said why
			}
			return true, err
		}
	}
}

// loopback brings the namespace's only interface up, with multicast for Tomcat.
func loopback() error {
	for _, args := range [][]string{
		{"link", "set", "lo", "up", "multicast", "on"},
		{"route", "replace", "224.0.0.0/4", "dev", "lo"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}
