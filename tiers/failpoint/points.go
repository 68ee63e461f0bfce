package failpoint

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Points are the passages of one process.
type Points struct {
	plan  Plan
	began time.Time
	kill  func() // does not return; a test has another
	stop  func() // returns when the process is continued; a test has another

	mu     sync.Mutex
	rand   *rand.Rand
	passed map[string]int
	log    *os.File // nil: none
}

// Instrument puts the points that the environment asks for between the registry and its
// stores; where it asks for none the configuration stays as it is.
func Instrument(config tiers.Config) (tiers.Config, error) {
	text, ok := os.LookupEnv(Variable)
	if !ok {
		return config, nil
	}
	plan, err := ParsePlan(text)
	if err != nil {
		return config, err
	}
	p, err := New(plan)
	if err != nil {
		return config, err
	}
	return p.Over(config), nil
}

// New makes the points of a plan.
func New(plan Plan) (*Points, error) {
	p := &Points{plan: plan, began: time.Now(), passed: map[string]int{}, kill: killSelf, stop: stopSelf,
		rand: rand.New(rand.NewPCG(uint64(plan.Seed), uint64(os.Getpid())))}
	if plan.Log == "" {
		return p, nil
	}
	var err error
	if p.log, err = os.OpenFile(plan.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		return nil, fmt.Errorf("%s: log: %w", Variable, err)
	}
	return p, nil
}

// killSelf ends the process as the kernel would.
func killSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // of oneself it is allowed
	select {}                                      // until the signal is delivered
}

// stopSelf freezes the process; it returns some time after it was continued.
func stopSelf() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) // of oneself it is allowed
	time.Sleep(10 * time.Millisecond)              // until the signal is delivered
}

// Over puts the points between a configuration and its stores.
func (p *Points) Over(config tiers.Config) tiers.Config {
	config.Catalog = &catalog{config.Catalog, p}
	all := make([]tiers.Tier, len(config.Tiers))
	for i, t := range config.Tiers {
		t.Bucket = &bucket{t.Bucket, p}
		all[i] = t
	}
	config.Tiers = all
	return config
}

// fate is what a passage decided for the call.
type fate int

const (
	goesOn fate = iota
	isLost      // report it as lost
	isLate      // report it as lost and apply it later
)

// calm says that nothing is to happen for now.
func (p *Points) calm() bool {
	if p.plan.Calm == "" {
		return false
	}
	_, err := os.Stat(p.plan.Calm)
	return err == nil
}

// pass is called at the passage name. writes says that a call may be applied late.
func (p *Points) pass(name string, writes bool) fate {
	if p.calm() {
		return goesOn
	}
	p.mu.Lock()
	p.passed[name]++
	n, roll, which := p.passed[name], p.rand.Float64(), p.rand.Float64()
	p.mu.Unlock()
	if n == 1 {
		p.tell("point", name)
	}
	kill := p.plan.Kill
	if strings.HasPrefix(name, "catalog.") || strings.HasPrefix(name, "s3.open") || strings.HasPrefix(name, "s3.stat") {
		kill /= 10
	}
	if at, ok := p.plan.At[name]; time.Since(p.began) > p.plan.Spare && (roll < kill || ok && n >= at) {
		p.tell("kill", name)
		p.kill()
	}
	pause := p.plan.Pause
	if strings.HasPrefix(name, "txn.") {
		pause = p.plan.PauseTxn
	}
	switch {
	case which < p.plan.Lose:
		p.tell("lose", name)
		return isLost
	case which < p.plan.Lose+p.plan.Late && writes:
		p.tell("late", name)
		return isLate
	case writes && which > 1-p.plan.Freeze:
		p.tell("freeze", name)
		p.stop()
	case which > 1-p.plan.Freeze-pause:
		p.tell("pause", name)
		time.Sleep(p.plan.PauseFor)
	}
	return goesOn
}

// tell writes one line with one call, so that it is whole and stays when the process ends
// right after it.
func (p *Points) tell(what, name string) {
	if p.log == nil {
		return
	}
	line := fmt.Sprintf("%s %s\n", what, name)
	if _, err := p.log.WriteString(line); err != nil {
		fmt.Fprintln(os.Stderr, "failpoint:", err)
	}
}

// lost is what the caller of a call that is reported as lost is told.
func lost(name string) error {
	return fmt.Errorf("%w: %s is reported as lost by a failpoint", oci.ErrUnavailable, name)
}

// around makes call with a passage before and one after it. later, where not nil, applies
// the call when the caller has gone.
func (p *Points) around(name string, call func() error, later func()) error {
	switch p.pass(name+"/before", later != nil) {
	case isLost:
		return lost(name)
	case isLate:
		time.AfterFunc(p.plan.LateFor, later)
		return lost(name)
	}
	err := call()
	if p.pass(name+"/after", false) == isLost && err == nil {
		return lost(name)
	}
	return err
}
