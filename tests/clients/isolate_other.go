//go:build !linux

package clients

import "syscall"

// isolated is a service of Linux, and so is dockerd.
func isolated() *syscall.SysProcAttr { return nil }
