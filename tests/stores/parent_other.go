//go:build !linux

package stores

import "syscall"

// dieWithParent is a service of Linux; elsewhere only a test that ends in order ends its
// servers.
func dieWithParent() *syscall.SysProcAttr { return nil }
