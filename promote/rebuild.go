package promote

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// Rebuilt is what a rebuild has made.
type Rebuilt struct {
	// Ledger is what the catalog was made of. Where it is not sound, nothing was written.
	Ledger   ledger.Report `json:"ledger"`
	Records  int           `json:"records"`
	Problems []string      `json:"problems"` // what could not be read in the buckets, the first hundred
	Seconds  float64       `json:"seconds"`
}

// Rebuild makes a lost catalog anew from the buckets of the tiers and the ledger in that of
// the last. options say by what the ledger is believed; say, where not nil, is told how far
// it is.
func Rebuild(ctx context.Context, config tiers.Config, options ledger.VerifyOptions, say func(string)) (done Rebuilt, err error) {
	began := time.Now()
	if say == nil {
		say = func(string) {}
	}
	b, err := tiers.OpenRebuild(ctx, config)
	if err != nil {
		return done, err
	}
	replay := NewReplay(b.Registry)
	options.Each = func(e ledger.Entry) error { return replay.Entry(ctx, e) }
	options.Progress = func(n, of int64) { say(fmt.Sprintf("reading the ledger: entry %d of %d", n, of)) }
	all := b.Tiers()
	last := all[len(all)-1]
	if done.Ledger, err = ledger.Verify(ctx, ledger.Bucket(last.Bucket), options); err != nil || !done.Ledger.Sound {
		return done, err
	}
	done.Problems, err = b.Complete(ctx, replay.Model, func(n, of int) { say(fmt.Sprintf("reading manifests: %d of %d", n, of)) })
	if err != nil {
		return done, err
	}
	head, err := ledger.Head(done.Ledger, last.Store())
	if err != nil {
		return done, err
	}
	done.Records = len(replay.Model.Keys())
	err = b.Write(ctx, replay.Model, []tiers.Put{head}, done.Ledger.Size, done.Ledger.Root.String(),
		func(n, of int) { say(fmt.Sprintf("writing records: %d of %d", n, of)) })
	done.Seconds = time.Since(began).Seconds()
	return done, err
}
