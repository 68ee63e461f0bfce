package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/tests/faults/check"
	"sluice.dev/sluice/tests/faults/cluster"
	"sluice.dev/sluice/tests/faults/s3proxy"
	"sluice.dev/sluice/tests/faults/workload"
	"sluice.dev/sluice/tests/stores"
)

// terminalWithin is how long a promotion may take to end once all is healed.
const terminalWithin = 60 * time.Second

// restTime is how long what was reported as lost may still be on its way once all is healed:
// longer than failpoints hold anything back.
const restTime = 3 * time.Second

// life is how long what nothing needs stays here: days in a deployment.
var life = struct{ Promise, Drain, Stray time.Duration }{24 * time.Second, 3 * time.Second, 30 * time.Second}

// runWithin is how long a collection or a check of the registry may take at rest.
const runWithin = 5 * time.Minute

type options struct {
	seed                  int64
	duration, round, calm time.Duration
	clients               int
	race                  bool
	dir                   string
	log                   io.Writer
	binary                string // empty: built
	quiet                 bool   // no faults: what is found then is the harness's own
}

// run1 is one run of the harness.
type run1 struct {
	options
	cluster *cluster.Cluster
	journal *workload.Journal
	clients []*workload.Client
	ops     *workload.Client // looks at everything after a round
	checker *check.Checker
	weather *weather
	figures *figures
}

// storm runs rounds for as long as it is told.
func storm(ctx context.Context, o stores.Owner, opts options) (*figures, error) {
	r := &run1{options: opts, figures: newFigures(opts.seed)}
	fmt.Fprintf(r.log, "seed %d, %v in rounds of %v, %d clients\n", opts.seed, opts.duration, opts.round, opts.clients)
	if err := r.start(ctx, o); err != nil {
		return r.figures, err
	}
	began := time.Now()
	for round := 1; time.Since(began) < opts.duration && ctx.Err() == nil; round++ {
		if err := r.round(ctx, round); err != nil {
			return r.figures, err
		}
	}
	if err := r.rest(ctx); err != nil {
		return r.figures, err
	}
	if err := r.cluster.Stop(); err != nil {
		r.journal.Violation("%v", err)
	}
	r.figures.Seconds = int64(time.Since(began).Seconds())
	r.count()
	return r.figures, r.journal.Close()
}

func (r *run1) start(ctx context.Context, o stores.Owner) (err error) {
	if r.journal, err = workload.NewJournal(filepath.Join(o.TempDir(), "journal.jsonl"), r.log); err != nil {
		return err
	}
	if r.binary == "" {
		if r.binary, err = cluster.Build(o.TempDir(), r.race); err != nil {
			return err
		}
	}
	random := rand.New(rand.NewPCG(uint64(r.seed), 1))
	r.weather = newWeather(r.seed, filepath.Join(o.TempDir(), "points"), r.quiet)
	gc := fmt.Sprintf("gc: {interval: 0s, promise: %v, drain: %v, uploads: %v}\n", life.Promise, life.Drain, life.Stray) // clients collect
	r.cluster = cluster.Start(o, cluster.Config{Seed: r.seed, Binary: r.binary, Streamed: random.IntN(2) == 0, Extra: gc, Dev: workload.Retention(),
		Faults: r.weather.plan, Failed: func(what string) { r.journal.Violation("%s", what) }})
	r.weather.cluster = r.cluster
	setting := workload.Setting{Keys: r.cluster.Keys.CI, Promise: life.Promise * 23 / 24, Spoils: r.weather.spoils}
	for _, replica := range r.cluster.Replicas {
		setting.URLs = append(setting.URLs, replica.URL)
	}
	r.ops = workload.NewClient(r.seed, 0, "ops", setting, r.journal)
	o.Cleanup(r.ops.Close)
	for i := range r.options.clients {
		c := workload.NewClient(r.seed, i+1, []string{"alice", "bob"}[i%2], setting, r.journal)
		o.Cleanup(c.Close)
		r.clients = append(r.clients, c)
	}
	r.checker, err = check.New(check.Config{Endpoints: r.cluster.Endpoints(), S3: r.cluster.Store.Endpoint,
		Access: r.cluster.Store.Access, Secret: r.cluster.Store.Secret, Buckets: r.cluster.Store.Buckets, Pushed: "dev", Ledger: r.cluster.Keys.Ledger})
	if err == nil {
		o.Cleanup(func() { _ = r.checker.Close() })
	}
	return err
}

// calm has clients work while nothing fails and garbage is collected all the time: in bad
// weather few collections come to their end.
func (r *run1) calm(ctx context.Context) error {
	if err := r.weather.setCalm(true); err != nil {
		return err
	}
	stop, cancel := context.WithTimeout(ctx, r.options.calm)
	defer cancel()
	var work errgroup.Group
	for _, c := range r.clients {
		work.Go(func() error { c.Work(ctx, stop); return nil })
	}
	work.Go(func() error { return r.ops.CollectInCalm(ctx, stop, runWithin) })
	return work.Wait()
}

// round has clients work in calm and then in bad weather, heals everything, and checks.
func (r *run1) round(ctx context.Context, number int) error {
	before := r.operations()
	if err := r.calm(ctx); err != nil {
		return fmt.Errorf("round %d: %w", number, err)
	}
	if err := r.weather.setCalm(false); err != nil {
		return err
	}
	stop, cancel := context.WithTimeout(ctx, r.options.round)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { r.weather.blow(stop) })
	for _, c := range r.clients {
		work.Go(func() { c.Work(ctx, stop) })
	}
	<-stop.Done()
	if err := r.weather.setCalm(true); err != nil {
		return err
	}
	r.cluster.Heal()
	healed := time.Now()
	work.Wait()
	r.cluster.Heal() // of what was under way
	if err := r.cluster.WaitReady(2 * time.Minute); err != nil {
		return err
	}
	ready := time.Since(healed)
	waited := r.ops.Terminal(ctx, healed, terminalWithin)
	if err := r.checker.Quiet(ctx, terminalWithin-time.Since(healed)); err != nil { // also of those that no client knows
		return err
	}
	waited.Slowest = time.Since(healed)
	pause(ctx, restTime-time.Since(healed))
	settled := r.ops.Settle(ctx)
	report, err := r.checker.Check(ctx, false)
	if err != nil {
		return fmt.Errorf("round %d: %w", number, err)
	}
	for _, v := range report.Violations {
		r.journal.Violation("%s", v)
	}
	for _, p := range r.cluster.Proxies {
		for _, twice := range p.Twice(unshared) {
			r.journal.Violation("I7: written twice: %s", twice)
		}
	}
	if n := len(report.Untracked); n > 0 {
		fmt.Fprintf(r.log, "    nothing names %q\n", report.Untracked[:min(n, 3)])
	}
	r.figures.saw(waited, settled, report, ready)
	fmt.Fprintf(r.log, "round %d: %d operations, ready %v and terminal %v after healing, %d histories, %d records, %d objects (%d untracked), %d violations so far\n",
		number, r.operations()-before, ready.Round(time.Millisecond), waited.Slowest.Round(time.Millisecond), settled.Registers,
		report.Records, report.Objects, len(report.Untracked), len(r.journal.Violations()))
	return ctx.Err()
}

// rest lets everything become old that waits for that, collects what is garbage then, and
// looks whether anything is left that nothing names.
func (r *run1) rest(ctx context.Context) error {
	for _, age := range []time.Duration{life.Stray + life.Promise, life.Drain, life.Drain} {
		pause(ctx, age+time.Second)
		if err := r.ops.CollectAtRest(ctx, runWithin); err != nil {
			return err
		}
	}
	if err := r.ops.CheckAtRest(ctx, runWithin); err != nil {
		return err
	}
	report, err := r.checker.Check(ctx, true)
	if err != nil {
		return err
	}
	for _, v := range report.Violations {
		r.journal.Violation("at rest: %s", v)
	}
	r.figures.UntrackedAtRest = max(r.figures.UntrackedAtRest, int64(len(report.Untracked)))
	fmt.Fprintf(r.log, "at rest: %d records, %d objects (%d untracked)\n", report.Records, report.Objects, len(report.Untracked))
	return ctx.Err()
}

// unshared leaves out the objects that are not written once by one operation: every replica
// may try to write the identity of a bucket.
func unshared(path string) bool {
	for i := range path {
		if path[i] == '/' {
			return len(path) < i+7 || path[i+1:i+7] != "blobs/"
		}
	}
	return true
}

func (r *run1) operations() (n int64) {
	for _, ends := range r.journal.Counts() {
		for _, k := range ends {
			n += k
		}
	}
	return n
}

// count gathers the figures of a run at its end.
func (r *run1) count() {
	f := r.figures
	f.Runs, f.Operations = 1, r.journal.Counts()
	f.Odd = r.journal.Oddities()
	f.Violations = r.journal.Violations()
	f.Points = r.weather.points()
	f.Etcd = r.weather.counts()
	for _, p := range r.cluster.Proxies {
		f.Requests += p.Requests()
		f.Keys += int64(p.Keys())
		for fault, n := range p.Counts() {
			f.S3[string(fault)] += n
		}
	}
	for _, replica := range r.cluster.Replicas {
		lives, killed, byItself := replica.Lives()
		f.Killed += int64(killed)
		f.EndedByThemselves += int64(byItself)
		for _, life := range lives {
			f.ready(life)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// bad are the rules of a round's S3.
func bad(random *rand.Rand) s3proxy.Rules {
	rules := s3proxy.Rules{Rates: map[s3proxy.Fault]float64{}, SlowFor: 400 * time.Millisecond}
	for _, f := range s3proxy.Faults() {
		switch random.IntN(3) {
		case 0: // none of these
		case 1:
			rules.Rates[f] = 0.01
		case 2:
			rules.Rates[f] = 0.03
		}
	}
	return rules
}
