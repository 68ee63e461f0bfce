package runs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// The records of the runs.
//
//	run/<kind>/<id>  Run
//	running/<kind>   hold: who carries one out; expires
//	began/<kind>     the id of the newest
//
// Only the holder of running/<kind> writes the record of its run, and only while the hold is
// his; that of a run which no hold names is marked as interrupted by whoever finds it.
func runPrefix(kind Kind) string { return "run/" + string(kind) + "/" }

func runKey(kind Kind, id string) string { return runPrefix(kind) + id }

func holdKey(kind Kind) string { return "running/" + string(kind) }

func beganKey(kind Kind) string { return "began/" + string(kind) }

// hold says who carries out a run.
type hold struct {
	Run   string `json:"run"`
	Owner string `json:"owner"`
	// CancelledBy is who wants it to stop: the way to tell another replica.
	CancelledBy string `json:"cancelledBy,omitempty"`
}

const (
	maxHistory    = 100              // runs of a kind that are kept
	defaultExpire = 10 * time.Second // of a hold that is not renewed; the catalog may keep it twice as long
	finishTimeout = time.Minute      // until the end of a run has to be written
	closeTimeout  = 2 * time.Second  // the same, of a replica that stops
)

// Work does what a run is for. ctx ends when the run is cancelled, when this replica stops,
// and when another may have taken its place: work then ends soon, with an error. progress
// takes what Run.Progress will show, as often as work likes; most calls cost nothing. What
// work returns beside an error is what it had done until then.
type Work func(ctx context.Context, run Run, progress func(any)) (result any, err error)

// Job is what runs of a kind do, and when they begin by themselves.
type Job struct {
	Work Work
	// Every is after what time the schedule begins the next; 0: never.
	Every time.Duration
	// Options are those of a run that the schedule begins. Where they are not nil, runs with
	// other options do not count for the schedule, nor as the last that succeeded.
	Options any
	// Waits, where it is not nil, says since when there is something to do, the last of it; zero
	// where nothing is. The schedule begins a run then, whatever Every is, unless somebody has
	// cancelled one since.
	Waits func(ctx context.Context) (time.Time, error)
}

// Config makes a Runner.
type Config struct {
	Registry *tiers.Registry
	Jobs     map[Kind]Job
	Log      *slog.Logger
	// Alone says that no other replica uses the catalog, so that whatever is running at the
	// start was cut off.
	Alone bool
	// Expire is after what time a run whose replica gives no sign of life has lost its owner,
	// at the least. 0: 10 s.
	Expire time.Duration
}

// Runner carries out runs and knows those that there were. All methods may be called
// concurrently.
type Runner struct {
	registry *tiers.Registry
	catalog  tiers.Catalog
	jobs     map[Kind]Job
	log      *slog.Logger
	alone    bool
	expire   time.Duration
	owner    string // this replica, in holds

	// Work goes on when the request that asked for it ends, until Close.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu    sync.Mutex
	owned map[string]*owned // by id: the runs that this replica carries out
	heads map[Kind]map[string]head
	known map[Kind]*Status
}

// New checks the configuration.
func New(config Config) (*Runner, error) {
	if config.Registry == nil || config.Log == nil {
		return nil, errors.New("runs: a registry and a logger are needed")
	}
	r := &Runner{
		registry: config.Registry, catalog: config.Registry.Catalog(), jobs: config.Jobs, log: config.Log, alone: config.Alone,
		expire: config.Expire, owner: config.Registry.NewID(), owned: map[string]*owned{}, heads: map[Kind]map[string]head{}, known: map[Kind]*Status{},
	}
	if r.expire <= 0 {
		r.expire = defaultExpire
	}
	for kind, job := range config.Jobs {
		if job.Work == nil || job.Every < 0 {
			return nil, fmt.Errorf("runs: %s: a job needs work, and an interval that is not negative", kind)
		}
		r.known[kind] = &Status{Kind: kind, Ended: map[State]int{}, Totals: map[string]int64{}}
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

// Close stops the work of this replica and waits until it has ended, interrupted.
func (r *Runner) Close() {
	r.mu.Lock()
	r.cancel() // under the lock, so that no work begins behind the Wait
	r.mu.Unlock()
	r.work.Wait()
}

// begin counts work that may be launched; false once the runner is closed. The caller
// launches it or calls r.work.Done.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ctx.Err() != nil {
		return false
	}
	r.work.Add(1)
	return true
}

// Start begins a run for actor and returns at once. It goes on whatever becomes of ctx. The
// error is a *BusyError where one of the kind goes on, on whatever replica.
func (r *Runner) Start(ctx context.Context, kind Kind, actor string, options any) (Run, error) {
	var run Run
	var busy *BusyError
	err := tiers.Retry(ctx, func() error {
		var err error
		run, err = r.start(ctx, kind, actor, options, nil)
		if errors.As(err, &busy) {
			return nil // it is no conflict that trying again resolves
		}
		return err
	})
	if err == nil && busy != nil {
		return Run{}, busy
	}
	return run, err
}

// start tries once to begin a run. began, where not nil, is the record of the newest run as
// it was read: where another began meanwhile the error is an oci.ErrConflict.
func (r *Runner) start(ctx context.Context, kind Kind, actor string, options any, began *tiers.Record) (Run, error) {
	job, ok := r.jobs[kind]
	if !ok {
		return Run{}, fmt.Errorf("%w: this server carries out no %s", oci.ErrUnsupported, kind)
	}
	encoded, err := json.Marshal(options)
	if err != nil || len(encoded) > maxOptions {
		return Run{}, fmt.Errorf("%w: the options of a %s: %d bytes, %v", oci.ErrRequestInvalid, kind, len(encoded), err)
	}
	if err := r.free(ctx, kind); err != nil {
		return Run{}, err
	}
	if !r.begin() {
		return Run{}, fmt.Errorf("%w: this server stops", oci.ErrUnavailable)
	}
	o := &owned{runner: r, job: job, done: make(chan struct{}), poked: make(chan struct{}, 1), confirmed: time.Now()}
	o.run = Run{ID: r.registry.NewID(), Kind: kind, State: Running, Actor: actor, Options: encoded, StartedAt: r.registry.Now()}
	o.hold = hold{Run: o.run.ID, Owner: r.owner}
	change := tiers.Change{
		If: []tiers.Condition{tiers.Absent(holdKey(kind))},
		Put: []tiers.Put{
			{Key: runKey(kind, o.run.ID), Value: tiers.Encode(o.run)},
			{Key: holdKey(kind), Value: tiers.Encode(o.hold), Expire: r.expire},
			{Key: beganKey(kind), Value: []byte(o.run.ID)},
		},
	}
	if began != nil {
		change.If = append(change.If, tiers.Unchanged(*began))
	}
	if o.revision, err = r.catalog.Commit(ctx, change); err != nil {
		r.work.Done()
		return Run{}, fmt.Errorf("begin a %s: %w", kind, err)
	}
	run := o.run // a copy: the owner goes on writing to its own
	r.mu.Lock()
	r.owned[run.ID] = o
	r.mu.Unlock()
	go o.carryOut()
	return run, nil
}

// free says whether no run of a kind goes on, and else which: the error is a *BusyError then.
// A run that its owner left behind is marked on the way.
func (r *Runner) free(ctx context.Context, kind Kind) error {
	past, err := r.history(ctx, kind)
	if err != nil {
		return err
	}
	for _, run := range past {
		if !run.State.Ended() {
			return &BusyError{run}
		}
	}
	return nil
}

// Wait returns a run once it has ended. When ctx ends before, it returns its error and the
// run as it was last seen, and the run goes on.
func (r *Runner) Wait(ctx context.Context, kind Kind, id string) (Run, error) {
	for {
		run, err := r.Get(ctx, kind, id)
		if err != nil || run.State.Ended() {
			return run, err
		}
		r.mu.Lock()
		o := r.owned[id]
		r.mu.Unlock()
		var done chan struct{} // never, where another replica carries it out
		if o != nil {
			done = o.done
		}
		select {
		case <-done:
		case <-time.After(progressInterval):
		case <-ctx.Done():
			return run, ctx.Err()
		}
	}
}

// Cancel tells the owner of a run, whoever it is, to stop it, and does not wait until it has.
// The error wraps oci.ErrRunUnknown, or oci.ErrConflict where the run has ended.
func (r *Runner) Cancel(ctx context.Context, kind Kind, actor, id string) (Run, error) {
	var run Run
	err := tiers.Retry(ctx, func() error {
		var record tiers.Record
		var h hold
		var err error
		if run, record, h, err = r.settle(ctx, kind, id); err != nil {
			return err
		}
		if run.State.Ended() || h.CancelledBy != "" {
			return nil
		}
		h.CancelledBy = actor
		run.CancelledBy = actor
		_, err = r.catalog.Commit(ctx, tiers.Change{
			If:  []tiers.Condition{tiers.Unchanged(record)},
			Put: []tiers.Put{{Key: record.Key, Value: tiers.Encode(h), Expire: r.expire}},
		})
		return err
	})
	if err != nil {
		return Run{}, fmt.Errorf("cancel %s %s: %w", kind, id, err)
	}
	if run.State.Ended() {
		return run, fmt.Errorf("%w: %s %s is %s: there is nothing left to cancel", oci.ErrConflict, kind, id, run.State)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.owned[id]; o != nil {
		o.poke()
	}
	return run, nil
}
