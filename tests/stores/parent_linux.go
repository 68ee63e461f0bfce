package stores

import "syscall"

// DieWithParent makes the kernel end a server whose test was killed and could not.
func DieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
