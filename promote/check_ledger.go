package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// The kinds of findings of a comparison with the ledger.
const (
	KindLedgerUnexplained = "ledger-unexplained" // I4: no event of the ledger accounts for a record
	KindLedgerLost        = "ledger-lost"        // I4: a record that an event has made is not there
	KindLedgerDiffers     = "ledger-differs"     // I4: a record says other than the event that made it
	KindLedgerUnreadable  = "ledger-unreadable"  // I4: the events cannot be followed
)

// How often what differs is looked at again on a busy registry, and how long sealing is
// waited for. What has changed each time is left to the next check.
const (
	ledgerRounds = 5
	ledgerWait   = 30 * time.Second
	ledgerPoll   = 100 * time.Millisecond
)

// CheckLedger compares the catalog with what the events of the ledger make: manifests, tags,
// and what repositories may read, policies, and how promotions ended. It needs somebody who
// seals. The model takes about 320 bytes of memory for each record of the catalog.
func (e *Engine) CheckLedger(ctx context.Context, l *ledger.Ledger, progress func(tiers.Checked)) (tiers.Checked, error) {
	phase := tiers.CheckPhase{Name: "catalog against the ledger", Run: func(ctx context.Context, c *tiers.Checking) error {
		k := &comparison{Checking: c, engine: e, ledger: l, replay: NewReplay(e.registry)}
		return e.guarded(ctx, func() error { return k.run(ctx) })
	}}
	return e.registry.Check(ctx, tiers.CheckOptions{Phases: []tiers.CheckPhase{phase}, Alone: true}, progress)
}

// comparison compares a live catalog with the ledger. What differs at first may be an event
// that is not sealed yet: it is read once more, and counts where it still differs, and was
// not changed, after all events that were recorded by then were sealed and applied.
type comparison struct {
	*tiers.Checking
	engine *Engine
	ledger *ledger.Ledger
	replay *Replay
	next   int64 // entry to be applied
	failed error // of an event that cannot be followed
}

func (k *comparison) run(ctx context.Context) error {
	if err := k.follow(ctx); err != nil {
		return err
	}
	if k.failed != nil {
		return k.Found(ctx, tiers.Finding{Invariant: "I4", Kind: KindLedgerUnreadable, Severity: tiers.Fault,
			Message: fmt.Sprintf("the events of the ledger cannot be followed, and the catalog was not compared with them: %v", k.failed),
			Remedy:  "sluice ledger verify   # says whether the ledger is as it was sealed"}, nil)
	}
	suspects, err := k.suspects(ctx)
	for round := 1; err == nil && len(suspects) > 0 && round <= ledgerRounds; round++ {
		suspects, err = k.again(ctx, suspects)
	}
	return err
}

// follow applies what is sealed by now.
func (k *comparison) follow(ctx context.Context) error {
	state, err := k.ledger.State(ctx)
	if err != nil {
		return err
	}
	for k.next < state.Size && k.failed == nil {
		entries, err := k.ledger.Entries(ctx, k.next, ledger.MaxEntries)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return fmt.Errorf("the ledger has %d entries, and none is to be had from %d on", state.Size, k.next)
		}
		for _, entry := range entries {
			if k.failed = k.replay.Entry(ctx, entry); k.failed != nil {
				return ctx.Err()
			}
		}
		k.next += int64(len(entries))
	}
	return nil
}

func (k *comparison) prefixes() []string {
	return append(k.engine.registry.Comparable(), prefixPolicy, prefixTierPolicy, prefixPromotion, prefixRevocation)
}

// suspects lists the keys whose records are others than the model's.
func (k *comparison) suspects(ctx context.Context) (keys []string, err error) {
	there := map[string]bool{}
	for _, prefix := range k.prefixes() {
		err := k.Records(ctx, "records compared with the ledger", prefix, func(page []tiers.Record) error {
			for _, record := range page {
				there[record.Key] = true
				have, want, err := k.facts(ctx, record)
				if err != nil {
					return err
				}
				if have != want {
					keys = append(keys, record.Key)
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, key := range k.replay.Model.Keys() {
		if !there[key] && slices.ContainsFunc(k.prefixes(), func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// facts are what the catalog says in a record and what the ledger does.
func (k *comparison) facts(ctx context.Context, record tiers.Record) (have, want string, err error) {
	if have, err = k.engine.facts(ctx, record); err != nil {
		have = "it cannot be read" // reported where the family is
	}
	want, err = k.engine.facts(ctx, k.replay.Model.Get(record.Key))
	return have, want, err
}

// facts are what an event has to say of a record.
func (e *Engine) facts(ctx context.Context, record tiers.Record) (string, error) {
	switch {
	case record.Revision == 0:
		return "", nil
	case strings.HasPrefix(record.Key, prefixPolicy):
		info, err := tiers.Decode[PolicyInfo](record)
		return fmt.Sprintf("%s, from %s to %s", info.Digest, info.From, info.To), err
	case strings.HasPrefix(record.Key, prefixPromotion):
		j, err := tiers.Decode[journal](record)
		if err != nil || !j.State.Terminal() {
			return "", err
		}
		return fmt.Sprintf("%s, of %s/%s@%s to %s as %v, decided by %s", j.State, j.From, j.Repository, j.Digest, j.To, j.Tags, decidedBy(j)), nil
	}
	return e.registry.Facts(ctx, record)
}

func decidedBy(j journal) string {
	if j.Verdict == nil {
		return "nobody"
	}
	return fmt.Sprintf("%s (allowed: %t)", j.Verdict.Policy.Digest, j.Verdict.Allowed)
}

// again looks at suspects once more, and returns those that were changed meanwhile.
func (k *comparison) again(ctx context.Context, keys []string) (moving []string, err error) {
	before := map[string]int64{}
	for some := range slices.Chunk(keys, tiers.MaxOps) {
		records, err := k.Get(ctx, some...)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			before[record.Key] = record.Revision
		}
	}
	if err := k.sealed(ctx); err != nil {
		return nil, err
	}
	if err := k.follow(ctx); err != nil || k.failed != nil {
		return nil, errors.Join(err, k.failed)
	}
	for some := range slices.Chunk(keys, tiers.MaxOps) {
		records, err := k.Get(ctx, some...)
		if err != nil {
			return nil, err
		}
		for _, record := range records {
			have, want, err := k.facts(ctx, record)
			switch {
			case err != nil:
				return nil, err
			case have == want:
			case record.Revision != before[record.Key]:
				moving = append(moving, record.Key)
			default:
				if err := k.differs(ctx, record.Key, have, want); err != nil {
					return nil, err
				}
			}
		}
	}
	return moving, nil
}

// sealed waits until every event that is recorded now is sealed.
func (k *comparison) sealed(ctx context.Context) error {
	var waiting []string
	err := k.Walk(ctx, tiers.Query{Prefix: prefixEvent, KeysOnly: true}, func(page []tiers.Record) error {
		for _, record := range page {
			waiting = append(waiting, record.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	assigned := int64(-1)
	for end := time.Now().Add(ledgerWait); ; {
		for len(waiting) > 0 {
			some := waiting[:min(len(waiting), tiers.MaxOps)]
			records, err := k.Get(ctx, some...)
			if err != nil {
				return err
			}
			if slices.ContainsFunc(records, func(r tiers.Record) bool { return r.Revision != 0 }) {
				break
			}
			waiting = waiting[len(some):]
		}
		state, err := k.ledger.State(ctx)
		if err != nil {
			return err
		}
		if len(waiting) == 0 && assigned < 0 {
			assigned = state.Assigned
		}
		if assigned >= 0 && state.Size >= assigned {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("events are not sealed within %v: nothing can be compared with the ledger until they are", ledgerWait)
		}
		select {
		case <-time.After(ledgerPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// differs reports a record that is not what the ledger says.
func (k *comparison) differs(ctx context.Context, key, have, want string) error {
	f := tiers.About(key)
	f.Invariant, f.Severity = "I4", tiers.Danger
	by := "no entry of the ledger tells of it"
	if entry := k.replay.Model.Entry(key); entry >= 0 {
		by = fmt.Sprintf("the last entry of the ledger that tells of it is %d", entry)
	}
	switch {
	case want == "":
		f.Kind = KindLedgerUnexplained
		f.Message = fmt.Sprintf("the catalog has %s: %s; by the ledger there is none, and %s", key, have, by)
	case have == "":
		f.Kind = KindLedgerLost
		f.Message = fmt.Sprintf("the catalog does not have %s; by the ledger it is there: %s; %s", key, want, by)
	default:
		f.Kind = KindLedgerDiffers
		f.Message = fmt.Sprintf("the catalog has %s: %s; by the ledger: %s; %s", key, have, want, by)
	}
	f.Remedy = "find out who wrote to the catalog past the registry, and whether the ledger is sound (sluice ledger verify); a catalog that cannot be trusted is made anew with sluice rebuild"
	return k.Found(ctx, f, nil)
}
