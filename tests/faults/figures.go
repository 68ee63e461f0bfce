package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/tests/faults/check"
	"sluice.dev/sluice/tests/faults/cluster"
	"sluice.dev/sluice/tests/faults/workload"
)

// figures are what runs have shown. They add up.
type figures struct {
	Runs              int64                       `json:"runs"`
	Seconds           int64                       `json:"seconds"`
	Seeds             []int64                     `json:"seeds"`
	Rounds            int64                       `json:"rounds"`
	Operations        map[string]map[string]int64 `json:"operations"` // by kind and end
	Points            map[string]int64            `json:"points"`     // what failpoints did: "kill s3.put@push/before"
	S3                map[string]int64            `json:"s3"`         // faults by kind
	Etcd              map[string]int64            `json:"etcd"`       // faults by kind
	Killed            int64                       `json:"killed"`     // processes
	EndedByThemselves int64                       `json:"endedByThemselves"`
	Requests          int64                       `json:"requests"` // of S3
	Keys              int64                       `json:"keys"`     // of S3 that were written
	Histories         int64                       `json:"histories"`
	Undecided         int64                       `json:"undecided"`
	Promotions        int64                       `json:"promotionsOpenWhenHealed"`
	SlowestTerminal   time.Duration               `json:"slowestTerminal"` // after healing
	SlowestReady      time.Duration               `json:"slowestReady"`    // of a replica, after its start
	SlowestHeal       time.Duration               `json:"slowestHeal"`     // until all replicas are ready
	Ready             []int64                     `json:"ready"`           // starts, by the second in which they were ready; the last: later
	Read              int64                       `json:"objectsRead"`
	Untracked         int64                       `json:"mostUntracked"`
	UntrackedAtRest   int64                       `json:"mostUntrackedAtRest"`
	Odd               map[string]int64            `json:"odd"`
	Violations        []string                    `json:"violations"`
}

// readySeconds is how many seconds figures tell apart.
const readySeconds = 10

func newFigures(seed int64) *figures {
	return &figures{Seeds: []int64{seed}, Operations: map[string]map[string]int64{}, Points: map[string]int64{}, S3: map[string]int64{},
		Etcd: map[string]int64{}, Odd: map[string]int64{}, Ready: make([]int64, readySeconds+1)}
}

// saw adds what a round has shown.
func (f *figures) saw(w workload.Waited, s workload.Settled, r check.Report, healed time.Duration) {
	f.Rounds++
	f.Histories += int64(s.Registers)
	f.Undecided += int64(s.Undecided)
	f.Promotions += int64(w.Promotions)
	f.SlowestTerminal = max(f.SlowestTerminal, w.Slowest)
	f.SlowestHeal = max(f.SlowestHeal, healed)
	f.Read += int64(r.Read)
	f.Untracked = max(f.Untracked, int64(len(r.Untracked)))
}

// ready adds a start of a replica. One that was killed before it was ready says nothing.
func (f *figures) ready(life cluster.Life) {
	if life.Ready == 0 {
		return
	}
	f.SlowestReady = max(f.SlowestReady, life.Ready)
	f.Ready[min(int(life.Ready/time.Second), readySeconds)]++
}

// addTo adds the figures to those in a file, and returns the sum.
func (f *figures) addTo(path string) (*figures, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, f.write(path)
	}
	if err != nil {
		return nil, err
	}
	sum := newFigures(0)
	if err := json.Unmarshal(data, sum); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	sum.add(f)
	return sum, sum.write(path)
}

func (f *figures) write(path string) error {
	data, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o600)
}

func (f *figures) add(o *figures) {
	for _, pair := range [][2]*int64{{&f.Runs, &o.Runs}, {&f.Seconds, &o.Seconds}, {&f.Rounds, &o.Rounds}, {&f.Killed, &o.Killed},
		{&f.EndedByThemselves, &o.EndedByThemselves}, {&f.Requests, &o.Requests}, {&f.Keys, &o.Keys}, {&f.Histories, &o.Histories},
		{&f.Undecided, &o.Undecided}, {&f.Promotions, &o.Promotions}, {&f.Read, &o.Read}} {
		*pair[0] += *pair[1]
	}
	f.SlowestTerminal, f.SlowestReady = max(f.SlowestTerminal, o.SlowestTerminal), max(f.SlowestReady, o.SlowestReady)
	f.SlowestHeal, f.Untracked = max(f.SlowestHeal, o.SlowestHeal), max(f.Untracked, o.Untracked)
	f.UntrackedAtRest = max(f.UntrackedAtRest, o.UntrackedAtRest)
	f.Seeds, f.Violations = append(f.Seeds, o.Seeds...), append(f.Violations, o.Violations...)
	for i := range f.Ready {
		f.Ready[i] += o.Ready[i]
	}
	for _, pair := range [][2]map[string]int64{{f.Points, o.Points}, {f.S3, o.S3}, {f.Etcd, o.Etcd}, {f.Odd, o.Odd}} {
		for name, n := range pair[1] {
			pair[0][name] += n
		}
	}
	for kind, ends := range o.Operations {
		if f.Operations[kind] == nil {
			f.Operations[kind] = map[string]int64{}
		}
		for end, n := range ends {
			f.Operations[kind][end] += n
		}
	}
}

func total(counts map[string]int64, prefix string) (n int64) {
	for name, k := range counts {
		if strings.HasPrefix(name, prefix) {
			n += k
		}
	}
	return n
}

// print shows the figures as a table.
func (f *figures) print(w io.Writer) {
	line := func(what string, value any) { fmt.Fprintf(w, "%-46s %v\n", what, value) }
	list := func(counts map[string]int64) {
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			line("    "+name, counts[name])
		}
	}
	line("runs, rounds, seconds", fmt.Sprintf("%d, %d, %d", f.Runs, f.Rounds, f.Seconds))
	line("seeds", f.Seeds)
	var operations int64
	for _, ends := range f.Operations {
		operations += total(ends, "")
	}
	line("operations of clients", operations)
	for _, kind := range slices.Sorted(maps.Keys(f.Operations)) {
		line("    "+kind, f.Operations[kind])
	}
	for _, plural := range []string{"collections", "checks"} {
		line(plural, f.Operations[plural]["begun"]+f.Operations[plural]["in calm"]+f.Operations[plural]["at rest"])
	}
	line("kill -9 at failpoints", total(f.Points, "kill "))
	kills := map[string]int64{}
	for name, n := range f.Points {
		if point, ok := strings.CutPrefix(name, "kill "); ok {
			kills[point] = n
		}
	}
	list(kills)
	line("reported as lost, late, paused at failpoints", fmt.Sprintf("%d, %d, %d", total(f.Points, "lose "), total(f.Points, "late "), total(f.Points, "pause ")))
	line("faults of S3", total(f.S3, ""))
	list(f.S3)
	line("faults of etcd and its connections", total(f.Etcd, ""))
	list(f.Etcd)
	line("requests of S3, keys and parts written", fmt.Sprintf("%d, %d", f.Requests, f.Keys))
	line("lives ended by SIGKILL, by themselves", fmt.Sprintf("%d, %d", f.Killed, f.EndedByThemselves))
	line("histories judged, undecided", fmt.Sprintf("%d, %d", f.Histories, f.Undecided))
	line("objects read and hashed", f.Read)
	line("most objects that nothing names, at rest", fmt.Sprintf("%d, %d", f.Untracked, f.UntrackedAtRest))
	line("promotions open when healed, slowest to end", fmt.Sprintf("%d, %v", f.Promotions, f.SlowestTerminal.Round(time.Millisecond)))
	line("starts by the second in which ready, slowest", fmt.Sprintf("%v, %v", f.Ready, f.SlowestReady.Round(time.Millisecond)))
	line("slowest to be ready after healing", f.SlowestHeal.Round(time.Millisecond))
	if len(f.Odd) > 0 {
		line("answers that are allowed and odd", total(f.Odd, ""))
		list(f.Odd)
	}
	line("violations", len(f.Violations))
	for _, v := range f.Violations {
		fmt.Fprintln(w, "    "+v)
	}
}
