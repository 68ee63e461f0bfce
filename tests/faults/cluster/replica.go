package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/tests/faults/tcpproxy"
	"sluice.dev/sluice/tiers/failpoint"
)

const (
	restartPause = 100 * time.Millisecond // before a replica that ended is started again
	stopTimeout  = time.Minute            // of a replica that was told to stop
	keptLogs     = 4                      // of lives of a replica
)

// Life is what is known of one life of a replica.
type Life struct {
	Ready time.Duration // until it said that it is ready; 0: it never did
	// Well says that no fault was known to stand in its way while it started.
	Well bool
}

// Replica is one process of the registry, which is started again whenever it ends.
type Replica struct {
	URL   string
	Links []*tcpproxy.Proxy // to the members, in their order

	number  int
	cluster *Cluster
	host    string
	closing chan struct{}
	ended   chan struct{} // closed when supervise has returned

	mu       sync.Mutex
	process  *process
	life     int
	starts   []Life
	killed   int // by SIGKILL: a failpoint's or this harness's
	byItself int // by itself
}

func (c *Cluster) newReplica(number int, host string) (*Replica, error) {
	r := &Replica{URL: "http://" + host, number: number, cluster: c, host: host, closing: make(chan struct{}), ended: make(chan struct{})}
	for _, m := range c.Members {
		link, err := tcpproxy.Start(strings.TrimPrefix(m.client, "http://"))
		if err != nil {
			return nil, err
		}
		r.Links = append(r.Links, link)
	}
	return r, nil
}

// supervise runs the replica until close.
func (r *Replica) supervise() {
	defer close(r.ended)
	for {
		if p, err := r.start(); err != nil {
			r.cluster.config.Failed(fmt.Sprintf("replica %d cannot be started: %v", r.number, err))
		} else {
			<-p.gone
			r.judge(p)
		}
		select {
		case <-r.closing:
			return
		case <-time.After(restartPause):
		}
	}
}

func (r *Replica) start() (*process, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life++
	var endpoints []string
	for _, link := range r.Links {
		endpoints = append(endpoints, "http://"+link.Addr())
	}
	env := []string{"SLUICE_ETCD_ENDPOINTS=" + strings.Join(endpoints, ","), "GOMEMLIMIT=400MiB", "GOTRACEBACK=all"}
	if r.cluster.config.Faults != nil {
		env = append(env, failpoint.Variable+"="+r.cluster.config.Faults(r.number, r.life))
	}
	began, at := time.Now(), len(r.starts)
	r.starts = append(r.starts, Life{})
	ready := func(line string) {
		if strings.HasPrefix(line, "sluice is ready on ") {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.starts[at].Ready = time.Since(began)
		}
	}
	_ = os.Remove(r.logOf(r.life - keptLogs)) // there is none of the first lives
	p, err := startProcess(r.cluster.config.Binary, []string{"serve", "--config", filepath.Join(r.cluster.Dir, "sluice.yaml"),
		"--listen", r.host, "--data", filepath.Join(r.cluster.Dir, fmt.Sprintf("replica-%d", r.number))}, env, r.logOf(r.life), false, ready)
	r.process = p
	return p, err
}

func (r *Replica) logOf(life int) string {
	return filepath.Join(r.cluster.log, fmt.Sprintf("replica-%d.%d", r.number, life))
}

// Log is the end of what the last life has printed.
func (r *Replica) Log() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tail(r.logOf(r.life), 16<<10)
}

// crash is what no fault excuses.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |WARNING: DATA RACE).*|.*msg="panic.*`)

// judge looks at how a life ended.
func (r *Replica) judge(p *process) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.killed() {
		r.killed++
	} else {
		r.byItself++
		if r.starts[len(r.starts)-1].Ready > 0 && !r.told() { // before that a store may have been gone
			r.cluster.config.Failed(fmt.Sprintf("replica %d ended by itself: %v\n%s", r.number, p.err, tail(r.logOf(r.life), 4<<10)))
		}
	}
	text, err := os.ReadFile(r.logOf(r.life))
	if err != nil {
		return
	}
	if found := crash.FindIndex(text); found != nil {
		r.cluster.config.Failed(fmt.Sprintf("replica %d, life %d: %s", r.number, r.life, text[found[0]:min(len(text), found[0]+4<<10)]))
	}
}

// told says whether the process was told to end.
func (r *Replica) told() bool {
	select {
	case <-r.closing:
		return true
	default:
		return false
	}
}

// Lives says how the lives of the replica began and how they ended.
func (r *Replica) Lives() (lives []Life, killed, byItself int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Life{}, r.starts...), r.killed, r.byItself
}

// Kill ends the process at once; it is started again.
func (r *Replica) Kill() {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Stop holds the process still, as a machine does that swaps or sleeps, until Resume.
func (r *Replica) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		r.process.signal(syscall.SIGSTOP)
	}
}

// Frozen says whether the process is held still, by Stop or by itself.
func (r *Replica) Frozen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process == nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.process.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "T")
}

// Resume ends Stop, and what a failpoint has frozen.
func (r *Replica) Resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process != nil {
		r.process.signal(syscall.SIGCONT)
	}
}

// stop has the process end in order and says if it did not.
func (r *Replica) stop() error {
	select {
	case <-r.closing:
	default:
		close(r.closing)
	}
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	if p == nil {
		return nil
	}
	p.signal(syscall.SIGTERM)
	select {
	case <-p.gone:
	case <-time.After(stopTimeout):
		log := r.Log()
		p.kill()
		return fmt.Errorf("replica %d did not stop in %v:\n%s", r.number, stopTimeout, log)
	}
	<-r.ended
	if p.err != nil {
		return errors.Join(fmt.Errorf("replica %d did not stop in order: %w", r.number, p.err), errors.New(r.Log()))
	}
	return nil
}

// close ends the process at once, and the proxies.
func (r *Replica) close() {
	select {
	case <-r.closing:
	default:
		close(r.closing)
	}
	r.Kill()
	<-r.ended
	for _, link := range r.Links {
		_ = link.Close() // it ends with this process anyway
	}
}
