//go:build !linux

package stores

import "syscall"

// DieWithParent is a service of Linux; elsewhere only a test that ends in order ends its
// servers.
func DieWithParent() *syscall.SysProcAttr { return nil }
