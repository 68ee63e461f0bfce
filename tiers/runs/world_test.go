package runs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

// patience is how long a test waits for what has to come.
const patience = time.Minute

// line is a catalog as one replica reaches it.
type line struct {
	tiers.Catalog
	mu     sync.Mutex
	cut    bool                                           // nothing gets through
	commit func(c tiers.Change) (applied bool, err error) // nil, or what becomes of a change: an error is what the replica is told
}

func (l *line) set(cut bool, commit func(tiers.Change) (bool, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.commit = cut, commit
}

func (l *line) state() (bool, func(tiers.Change) (bool, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut, l.commit
}

var errCut = fmt.Errorf("test: the line is cut: %w", oci.ErrUnavailable)

func (l *line) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	if cut, _ := l.state(); cut {
		return nil, errCut
	}
	return l.Catalog.Get(ctx, keys...)
}

func (l *line) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	if cut, _ := l.state(); cut {
		return nil, errCut
	}
	return l.Catalog.List(ctx, q)
}

func (l *line) Commit(ctx context.Context, c tiers.Change) (int64, error) {
	cut, commit := l.state()
	if cut {
		return 0, errCut
	}
	if commit == nil {
		return l.Catalog.Commit(ctx, c)
	}
	applied, err := commit(c)
	if err == nil {
		return l.Catalog.Commit(ctx, c)
	}
	if applied {
		if _, own := l.Catalog.Commit(ctx, c); own != nil {
			return 0, own
		}
	}
	return 0, err
}

// world is a catalog with replicas over it.
type world struct {
	*testing.T
	config tiers.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t}
	stores.Registry(t, func(c *tiers.Config) { w.config = *c })
	return w
}

// replica is one process: a runner, and its line to the catalog.
type replica struct {
	*runs.Runner
	line *line
}

// replica makes a runner that does jobs; edit, where not nil, changes its configuration.
func (w *world) replica(jobs map[runs.Kind]runs.Job, edit func(*runs.Config)) *replica {
	w.Helper()
	l := &line{Catalog: w.config.Catalog}
	config := w.config
	config.Catalog = l
	registry, err := tiers.New(w.Context(), config)
	if err != nil {
		w.Fatal(err)
	}
	conf := runs.Config{Registry: registry, Jobs: jobs, Log: slog.New(slog.DiscardHandler)}
	if edit != nil {
		edit(&conf)
	}
	runner, err := runs.New(conf)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() {
		l.set(false, nil)
		runner.Close()
	})
	return &replica{runner, l}
}

// job is one that does work for collections.
func job(work runs.Work) map[runs.Kind]runs.Job {
	return map[runs.Kind]runs.Job{runs.Collection: {Work: work}}
}

// expiring makes holds last for d.
func expiring(d time.Duration) func(*runs.Config) { return func(c *runs.Config) { c.Expire = d } }

// gate is a job that waits in the middle.
type gate struct {
	begun chan runs.Run // a run waits
	open  chan struct{} // lets one on
	ended chan error    // why the context of one ended
}

func newGate() *gate {
	return &gate{make(chan runs.Run, 100), make(chan struct{}), make(chan error, 100)}
}

func (g *gate) work(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
	progress(map[string]int{"looked": 1})
	g.begun <- run
	select {
	case <-g.open:
		return map[string]string{"done": "all"}, nil
	case <-ctx.Done():
		g.ended <- context.Cause(ctx)
		return map[string]string{"done": "half"}, ctx.Err()
	}
}

// receive takes what has to come.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("it does not come")
	}
	var zero T
	return zero
}

// start begins a run that has to begin.
func (w *world) start(r *replica, options any) runs.Run {
	w.Helper()
	run, err := r.Start(w.Context(), runs.Collection, "alice", options)
	if err != nil {
		w.Fatal(err)
	}
	return run
}

// end waits for the end of a run as r sees it, and wants a state.
func (w *world) end(r *replica, id string, state runs.State) runs.Run {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	run, err := r.Wait(ctx, runs.Collection, id)
	if err != nil || run.State != state {
		w.Fatalf("the run is %+v, %v, want %s", run, err, state)
	}
	if run.FinishedAt == nil || run.FinishedAt.Before(run.StartedAt) {
		w.Errorf("it ended at %v, began at %v", run.FinishedAt, run.StartedAt)
	}
	return run
}

// eventually waits until what has to come is there.
func (w *world) eventually(what string, there func() bool) {
	w.Helper()
	for deadline := time.Now().Add(patience); !there(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("never: %s", what)
		}
	}
}

// keys lists what is left under prefix.
func (w *world) keys(prefix string) []string {
	w.Helper()
	records, err := w.config.Catalog.List(w.Context(), tiers.Query{Prefix: prefix, Limit: 1000})
	if err != nil {
		w.Fatal(err)
	}
	keys := []string{}
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	return keys
}

// touches says whether a change writes or deletes a key that begins with prefix.
func touches(c tiers.Change, prefix string) bool {
	for _, p := range c.Put {
		if strings.HasPrefix(p.Key, prefix) {
			return true
		}
	}
	for _, key := range c.Delete {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func isBusy(err error, id string) bool {
	var busy *runs.BusyError
	return errors.As(err, &busy) && errors.Is(err, oci.ErrConflict) && (id == "" || busy.Run.ID == id)
}
