package stores

import "syscall"

// dieWithParent makes the kernel end a server whose test was killed and could not.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
