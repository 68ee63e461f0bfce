package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/server/events"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/pulls"
	"sluice.dev/sluice/tiers/runs"
)

// collection is what a collection of garbage came to.
type collection struct {
	Retained  tiers.Retained  `json:"retained"`  // what the rules of retention let go
	Collected tiers.Collected `json:"collected"` // what nothing needed
}

// Figures of runs that lists show, beside those of metrics.
const (
	figureDeleted        = "deletedObjects"
	figureCondemned      = "condemnedObjects"
	figureCondemnedBytes = "condemnedBytes"
	figureWouldGo        = "wouldGo" // of a dry run, which has no others
	figureProblems       = "problems"
	figureTags           = "retainedTags"      // that went by a rule of retention
	figureManifests      = "retainedManifests" // the same
	figureRepaired       = "repaired"
	figureObjects        = "objects"
	figureRead           = "readBytes"
)

// Figures implements runs.Figured.
func (c collection) Figures() map[string]int64 {
	_, gone := collectedResult{c.Collected}.sum()
	if c.Collected.DryRun {
		return map[string]int64{figureWouldGo: gone + int64(c.Retained.Tags) + int64(c.Retained.Manifests)}
	}
	sweeps := c.Collected.Sweeps
	figures := map[string]int64{
		figureTags: int64(c.Retained.Tags), figureManifests: int64(c.Retained.Manifests),
		server.FigureFreed: sweeps[tiers.SweepObjects].Bytes, figureDeleted: sweeps[tiers.SweepObjects].Gone,
		figureProblems:  c.Collected.ProblemCount + int64(len(c.Retained.Problems)),
		figureCondemned: 0, figureCondemnedBytes: 0,
	}
	for _, sweep := range []tiers.Sweep{tiers.SweepIntents, tiers.SweepBlobs, tiers.SweepStrays} {
		figures[figureCondemned] += sweeps[sweep].Gone
		figures[figureCondemnedBytes] += sweeps[sweep].Bytes
	}
	return figures
}

// checked is what a check found.
type checked struct{ tiers.Checked }

// Figures implements runs.Figured.
func (c checked) Figures() map[string]int64 {
	return map[string]int64{
		server.FigureFindings: sum(c.Found), server.FigureUnrepaired: c.Severity[tiers.Danger] + c.Severity[tiers.Fault],
		figureRepaired: c.Repaired, figureObjects: c.Objects, figureRead: c.ReadBytes,
	}
}

// upkeep are the jobs of runs.
func (i *instance) upkeep() map[runs.Kind]runs.Job {
	return map[runs.Kind]runs.Job{
		runs.Collection: {Work: i.collect, Every: i.cfg.GC.Interval, Options: server.CollectionOptions{}},
		runs.Check:      {Work: i.check},
		runs.Redecision: {Work: i.redecide, Waits: i.engine.RedecisionsSince},
	}
}

// collect lets go what the rules of retention say, and then takes away what nothing needs. That
// the one comes to no end is no reason to leave out the other.
func (i *instance) collect(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
	var options server.CollectionOptions
	if err := json.Unmarshal(run.Options, &options); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	now := collection{Collected: tiers.Collected{Sweeps: map[tiers.Sweep]tiers.Swept{}}}
	var retained, collected error
	now.Retained, retained = i.registry.Retain(ctx, tiers.RetainOptions{DryRun: options.DryRun, Actor: run.Actor, Keep: i.engine.Keeper()}, func(r tiers.Retained) {
		progress(collection{r, now.Collected})
	})
	if ctx.Err() == nil {
		now.Collected, collected = i.registry.Collect(ctx, tiers.CollectOptions{DryRun: options.DryRun, Actor: run.Actor}, func(c tiers.Collected) {
			progress(collection{now.Retained, c})
		})
	}
	now.Collected.DryRun = options.DryRun // however far it came
	return now, errors.Join(retained, collected)
}

// check looks at all there is.
func (i *instance) check(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
	var options server.CheckOptions
	if err := json.Unmarshal(run.Options, &options); err != nil {
		return nil, fmt.Errorf("options: %w", err)
	}
	if options.Ledger {
		found, err := i.engine.CheckLedger(ctx, i.ledger, func(c tiers.Checked) { progress(checked{c}) })
		return checked{found}, err
	}
	subset, err := tiers.ParseSubset(options.Subset)
	if err != nil {
		return nil, err
	}
	o := tiers.CheckOptions{ReadData: options.ReadData, Subset: subset, Repair: options.Repair, Actor: run.Actor}
	runs.AddCheck(&o)
	ledger.AddCheck(&o)
	events.AddCheck(&o, i.ledger)
	pulls.AddCheck(&o, i.registry)
	found, err := i.engine.Check(ctx, o, func(c tiers.Checked) { progress(checked{c}) })
	return checked{found}, err
}

// redecide decides anew what rests on what was revoked, or lifted, since the last did.
func (i *instance) redecide(ctx context.Context, _ runs.Run, progress func(any)) (any, error) {
	return i.engine.Redecide(ctx, func(r promote.Redeciding) { progress(r) })
}
