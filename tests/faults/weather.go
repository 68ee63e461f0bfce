package main

import (
	"bufio"
	"context"
	"fmt"
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
	killRate  = "1/3000"
	loseRate  = "1/400"
	lateRate  = "1/400:1500ms"
	pauseRate = "1/500:800ms"
	aimed     = 3 // of so many lives all but one are killed at a passage that few were killed at
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
}

func newWeather(seed int64, dir string, quiet bool) *weather {
	return &weather{dir: dir, quiet: quiet, rand: rand.New(rand.NewPCG(uint64(seed), 2)),
		etcd: map[string]int64{}, passed: map[string]bool{}, aims: map[string]int{}}
}

// plan is that of the failpoints of a life. Most lives end at a passage at which few have
// ended so far, so that the rare ones have their turn.
func (w *weather) plan(replica, life int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := os.MkdirAll(w.dir, 0o700); err != nil || w.quiet {
		return ""
	}
	text := fmt.Sprintf("seed=%d,kill=%s,lose=%s,late=%s,pause=%s,calm=%s,log=%s", w.rand.Int64N(1<<30), killRate, loseRate, lateRate, pauseRate, w.calmFile(),
		filepath.Join(w.dir, fmt.Sprintf("%d.%d", replica, life)))
	if point := w.aim(); point != "" && w.rand.IntN(aimed) > 0 {
		w.aims[point]++
		text += fmt.Sprintf(",at=%s#%d", point, 1+w.rand.IntN(4))
	}
	return text
}

func (w *weather) calmFile() string { return w.dir + ".calm" }

// setCalm ends the faults of all failpoints, or begins them again.
func (w *weather) setCalm(calm bool) error {
	if calm {
		return os.WriteFile(w.calmFile(), nil, 0o600)
	}
	return os.Remove(w.calmFile())
}

// aim picks the passage that was aimed at least often. w.mu is held.
func (w *weather) aim() string {
	for what, n := range w.logged() {
		if name, ok := strings.CutPrefix(what, "point "); ok && n > 0 {
			w.passed[name] = true
		}
	}
	names := slices.Sorted(maps.Keys(w.passed))
	w.rand.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	best := ""
	for _, name := range names {
		if best == "" || w.aims[name] < w.aims[best] {
			best = name
		}
	}
	return best
}

// logged counts the lines of all logs of failpoints.
func (w *weather) logged() map[string]int64 {
	all := map[string]int64{}
	files, err := filepath.Glob(filepath.Join(w.dir, "*"))
	if err != nil {
		return all
	}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			all[s.Text()]++
		}
		f.Close()
	}
	return all
}

// points counts what failpoints did: "kill s3.put@push/before" and so on.
func (w *weather) points() map[string]int64 {
	all := w.logged()
	maps.DeleteFunc(all, func(what string, _ int64) bool { return strings.HasPrefix(what, "point ") })
	return all
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
	for _, p := range w.cluster.Proxies {
		rules := bad(w.rand)
		w.wrong.Store(w.wrong.Load() || rules.Rates[s3proxy.WrongBytes] > 0)
		p.SetRules(rules)
	}
	w.mu.Unlock()
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
		replica.Stop()
		pause(ctx, 2*last)
		replica.Resume()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.etcd[name]++
}
