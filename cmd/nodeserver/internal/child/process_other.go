//go:build !linux

package child

import "syscall"

// attributes: only Linux knows death signals.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
