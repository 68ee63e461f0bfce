package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/tests/faults/cluster"
	"sluice.dev/sluice/tests/faults/s3proxy"
)

// Rates of the failpoints, of each passage; and how often something else comes.
const (
	killRate  = "1/1000"
	loseRate  = "1/400"
	lateRate  = "1/400:1500ms"
	pauseRate = "1/500:300ms,pausetxn=1/25,freeze=1/2500"
	frozen    = 14 * time.Second // that a process is, at the most: longer than its signs of life last
	spare     = 6 * time.Second  // of a life, at the most, before it is killed; every fourth is not spared
	aimed     = 6                // passages that a life is aimed at, of those that were aimed at least often
	between   = 1500 * time.Millisecond
)

// weather is what goes wrong beside the work of the clients.
type weather struct {
	dir     string // of the logs of failpoints
	quiet   bool
	cluster *cluster.Cluster
	wrong   atomic.Bool // the store may send wrong bytes

	mu     sync.Mutex
	rand   *rand.Rand
	etcd   map[string]int64
	passed map[string]bool // failpoints that were ever passed
	aims   map[string]int  // how often a life was aimed at one
	done   map[string]int64
	live   map[string]bool // logs that are still being written
}

func newWeather(seed int64, dir string, quiet bool) *weather {
	return &weather{dir: dir, quiet: quiet, rand: rand.New(rand.NewPCG(uint64(seed), 2)),
		etcd: map[string]int64{}, passed: map[string]bool{}, aims: map[string]int{}, done: map[string]int64{}, live: map[string]bool{}}
}

// plan is that of the failpoints of a life. Most lives end at a passage at which few have
// ended so far, so that the rare ones have their turn.
func (w *weather) plan(replica, life int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := os.MkdirAll(w.dir, 0o700); err != nil || w.quiet {
		return ""
	}
	name := func(life int) string { return filepath.Join(w.dir, fmt.Sprintf("%d.%d", replica, life)) }
	w.gather(name(life - 1))
	w.live[name(life)] = true
	text := fmt.Sprintf("seed=%d,kill=%s,lose=%s,late=%s,pause=%s,calm=%s,log=%s", w.rand.Int64N(1<<30), killRate, loseRate, lateRate, pauseRate,
		w.calmFile(), name(life))
	if w.rand.IntN(4) > 0 {
		text += fmt.Sprintf(",spare=%v", time.Duration(w.rand.Int64N(int64(spare))))
	}
	for _, point := range w.aim() {
		w.aims[point]++
		text += fmt.Sprintf(",at=%s#%d", point, 1+w.rand.IntN(3))
	}
	return text
}

func (w *weather) calmFile() string { return w.dir + ".calm" }

// setCalm ends the faults of all failpoints, or begins them again.
func (w *weather) setCalm(calm bool) error {
	if calm {
		return os.WriteFile(w.calmFile(), nil, 0o600)
	}
	if err := os.Remove(w.calmFile()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// aim picks the passages that were aimed at least often. w.mu is held.
func (w *weather) aim() []string {
	names := slices.Sorted(maps.Keys(w.passed))
	w.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	slices.SortStableFunc(names, func(a, b string) int { return w.aims[a] - w.aims[b] })
	return names[:min(aimed, len(names))]
}

// gather adds the log of a life that has ended. w.mu is held.
func (w *weather) gather(path string) {
	delete(w.live, path)
	f, err := os.Open(path)
	if err != nil {
		return // it has passed nothing
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "point "); ok {
			w.passed[name] = true
		} else {
			w.done[s.Text()]++
		}
	}
	_ = os.Remove(path) // it has been counted
}

// points counts what failpoints did, once all lives have ended: "kill s3.put@push/before"
// and so on.
func (w *weather) points() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, path := range slices.Collect(maps.Keys(w.live)) {
		w.gather(path)
	}
	return maps.Clone(w.done)
}

func (w *weather) counts() map[string]int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.etcd)
}

func (w *weather) spoils() bool { return w.wrong.Load() }

// blow has things go wrong until ctx ends.
func (w *weather) blow(ctx context.Context) {
	if w.quiet {
		return
	}
	w.mu.Lock()
	var all []s3proxy.Rules
	wrong := false
	for range w.cluster.Proxies {
		rules := bad(w.rand)
		all, wrong = append(all, rules), wrong || rules.Rates[s3proxy.WrongBytes] > 0
	}
	w.mu.Unlock()
	w.wrong.Store(wrong)
	for i, p := range w.cluster.Proxies {
		p.SetRules(all[i])
	}
	var thaw sync.WaitGroup
	defer thaw.Wait()
	thaw.Go(func() { w.thaw(ctx) })
	for ctx.Err() == nil {
		w.mu.Lock()
		wait := time.Duration(w.rand.Int64N(int64(2 * between)))
		what, last := w.rand.IntN(10), time.Duration(200+w.rand.IntN(2500))*time.Millisecond
		a, b := w.rand.IntN(cluster.Replicas), w.rand.IntN(cluster.Members)
		w.mu.Unlock()
		pause(ctx, wait)
		if ctx.Err() == nil {
			w.happen(ctx, what, a, b, last)
		}
	}
}

// thaw continues the processes that a failpoint has frozen, after some time.
func (w *weather) thaw(ctx context.Context) {
	since := map[*cluster.Replica]time.Time{}
	for ctx.Err() == nil {
		pause(ctx, 200*time.Millisecond)
		for _, r := range w.cluster.Replicas {
			if !r.Frozen() {
				delete(since, r)
				continue
			}
			if since[r].IsZero() {
				w.mu.Lock()
				since[r] = time.Now().Add(time.Duration(w.rand.Int64N(int64(frozen)))) // until
				w.mu.Unlock()
			}
			if time.Now().After(since[r]) {
				r.Resume()
			}
		}
	}
}

// happen has one thing go wrong, for as long as last.
func (w *weather) happen(ctx context.Context, what, a, b int, last time.Duration) {
	link, member, replica := w.cluster.Replicas[a].Links[b], w.cluster.Members[b], w.cluster.Replicas[a]
	name := ""
	switch what {
	case 0, 1:
		name = "connections cut"
		for _, l := range w.cluster.Replicas[a].Links {
			l.Cut()
		}
	case 2:
		name = "latency"
		link.SetLatency(last / 20)
		pause(ctx, last)
		link.Heal()
	case 3:
		name = "black hole"
		link.SetBlackHole(true)
		pause(ctx, last)
		link.Heal()
	case 4:
		name = "replica cut off"
		for _, l := range replica.Links {
			l.SetRefuse(true)
			l.Cut()
		}
		pause(ctx, last)
		for _, l := range replica.Links {
			l.Heal()
		}
	case 5, 6:
		name = "member killed"
		member.Kill()
		pause(ctx, last)
		member.Start()
	case 7:
		name = "leader killed"
		leader, err := w.cluster.Leader(ctx)
		if err != nil {
			return
		}
		leader.Kill()
		pause(ctx, last)
		leader.Start()
	case 8:
		name = "two of three dead"
		other := w.cluster.Members[(b+1)%cluster.Members]
		member.Kill()
		other.Kill()
		pause(ctx, last)
		member.Start()
		other.Start()
	case 9: // no fault of etcd, but as unwelcome to it
		name = "replica held still"
		replica.Stop() // until thaw
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.etcd[name]++
}
