package clients

import "syscall"

// isolated gives a daemon mounts of its own, so that none of them outlives it, and makes
// the kernel end it where its test was killed and could not.
func isolated() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
}
