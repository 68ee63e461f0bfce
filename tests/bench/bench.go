package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
)

// The contenders.
const (
	theStore  = "raw store"
	theSluice = "Sluice"
	thePeer   = "distribution"
	theBare   = "bare handler"
	theRange  = "bare handler, a page"
	theOne    = "raw store, one request"
	theDirect = "Sluice, redirect"
)

// clients are at work at once, unless a workload says otherwise.
const clients = 4

// settings are what the flags say.
type settings struct {
	only         []string
	rounds       int
	seconds      float64
	largeMiB     int
	images       int
	tags         int
	referrers    int
	uploads      int
	uploadMiB    int
	withPeer     bool
	withRedirect bool
}

// bench is one run.
type bench struct {
	settings
	*servers
	progress io.Writer
	current  int // 0 warms up and does not count
	results  results
	rows     []row
}

// workload is a kind of work that can be chosen. setup may be nil; round is called for
// each round, and rows once at the end.
type workload struct {
	names []string
	setup func(context.Context) error
	round func(context.Context) error
	rows  func()
}

func (b *bench) workloads() []workload {
	l, m, t, r, p := &large{b}, &manifests{bench: b}, &tagPages{bench: b}, &referrers{bench: b}, &promotion{b}
	return []workload{
		{names: []string{"push", "pull"}, round: l.round, rows: l.rows},
		{names: []string{"images"}, round: b.imagesRound, rows: b.imagesRows},
		{names: []string{"manifests"}, setup: m.setup, round: m.round, rows: m.rows},
		{names: []string{"referrers"}, setup: r.setup, round: r.round, rows: r.rows},
		{names: []string{"promotion"}, round: p.round, rows: p.rows},
		{names: []string{"tags"}, setup: t.setup, round: t.round, rows: t.rows},
		{names: []string{"memory"}, round: b.memoryRound, rows: b.memoryRows},
	}
}

// names of all workloads, for -only.
func names() (all []string) {
	for _, w := range (&bench{}).workloads() {
		all = append(all, w.names...)
	}
	return all
}

func (b *bench) wants(name string) bool { return slices.Contains(b.only, name) }

// run does the chosen workloads, each in all rounds. One that fails does not keep the
// others from being measured.
func (b *bench) run(ctx context.Context) error {
	var problems []error
	for _, w := range b.workloads() {
		if !slices.ContainsFunc(w.names, b.wants) {
			continue
		}
		if err := b.do(ctx, w); err != nil {
			fmt.Fprintln(b.progress, err)
			problems = append(problems, err)
		}
		w.rows()
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

func (b *bench) do(ctx context.Context, w workload) error {
	if w.setup != nil {
		b.current = 0
		if err := w.setup(ctx); err != nil {
			return fmt.Errorf("%v: set up: %w", w.names, err)
		}
	}
	for b.current = 0; b.current <= b.rounds; b.current++ {
		if err := w.round(ctx); err != nil {
			return fmt.Errorf("%v, %s: %w", w.names, b.roundName(), err)
		}
		if err := b.store.sweep(ctx); err != nil {
			return fmt.Errorf("%v, %s: %w", w.names, b.roundName(), err)
		}
	}
	return nil
}

func (b *bench) roundName() string {
	if b.current == 0 {
		return "warm-up"
	}
	return fmt.Sprintf("round %d", b.current)
}
