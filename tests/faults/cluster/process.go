package cluster

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"sluice.dev/sluice/tests/stores"
)

// process is a program that was started here.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	err  error         // of its end; read behind gone
	once sync.Once
}

// startProcess starts a program that prints to the file log, behind what is there or
// anew. line, where not nil, is told every line of the standard output.
func startProcess(path string, args, env []string, log string, behind bool, line func(string)) (*process, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if !behind {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(log, flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own
	p := &process{cmd: exec.Command(path, args...), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = stores.DieWithParent()
	var lines io.ReadCloser
	if line != nil {
		p.cmd.Stdout = nil
		if lines, err = p.cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.gone)
		if line != nil {
			for s := bufio.NewScanner(lines); s.Scan(); {
				line(s.Text())
			}
		}
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

func (p *process) lives() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() }) // fails only if it has ended already
	<-p.gone
}

// signal fails only where the process has ended already.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// killed says whether the process, which is gone, was ended by SIGKILL.
func (p *process) killed() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
