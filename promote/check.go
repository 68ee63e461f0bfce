package promote

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// The kinds of findings about promotions, beside those of package tiers.
const (
	KindManifestUnvouched    = "manifest-unvouched"    // I4: no verdict let a manifest rise that stands above
	KindManifestLost         = "manifest-lost"         // I1: a manifest that rose is not there any more
	KindVerdictMissing       = "verdict-missing"       // I4: a promotion succeeded without a verdict that allows it
	KindRecordMissing        = "record-missing"        // I4: nothing keeps the document of what a promotion brought
	KindPromotionRecord      = "promotion-record"      // I4: that document contradicts the promotion
	KindSummaryUnverified    = "summary-unverified"    // I4: a summary does not prove what it should
	KindPromotionUntidied    = "promotion-untidied"    // I5: a promotion has ended, and nobody tidies up after it
	KindJournalContradiction = "journal-contradiction" // I6: the journal of a promotion contradicts itself
	KindEventContradiction   = "event-contradiction"   // I6: an event says that a promotion ended otherwise than its journal
	KindPromotionStuck       = "promotion-stuck"       // I6: a promotion has not ended, and nobody will take it up
	KindArtifactUnheld       = "artifact-unheld"       // I3: nothing holds the artifact of a promotion that has not ended
	KindOpenOrphan           = "open-orphan"           // I6: something is to be taken up that does not exist
	KindWaitingOrphan        = "waiting-orphan"        // I6: something is to be looked at that does not wait
	KindPromotionKeyOrphan   = "promotion-key-orphan"  // I6: a request leads to a promotion that does not exist
	KindStandingOrphan       = "standing-orphan"       // I6: a standing was decided by a promotion that does not exist
	KindPolicyCorrupt        = "policy-corrupt"        // a policy does not load, or is not the one that was set
	KindPolicyPointer        = "policy-pointer"        // what governs a tier, and which policy says that it does, differ
	KindRevocationCount      = "revocation-count"      // the generation of the revocations counts otherwise, or is missing
	KindRedecisionOrphan     = "redecision-orphan"     // what was decided anew because of a revocation that does not exist
)

// checking is a check of promotions that is under way.
type checking struct {
	engine *Engine
	*tiers.Checking
}

// Check is that of the registry, and looks besides whether everything above the tiers that
// are pushed to was let through by a verdict, and whether the journals of promotions agree
// with themselves and with what they have left behind.
func (e *Engine) Check(ctx context.Context, o tiers.CheckOptions, progress func(tiers.Checked)) (tiers.Checked, error) {
	o.Arrivals = e.arrivalState
	o.Families = slices.Concat(o.Families, families())
	for _, phase := range []struct {
		name string
		run  func(*checking, context.Context) error
	}{
		{"policies", (*checking).policies},
		{"revocations", (*checking).revocations},
		{"promotions", (*checking).promotions},
		{"events of promotions", (*checking).events},
		{"verdicts", (*checking).verdicts},
	} {
		o.Phases = append(o.Phases, tiers.CheckPhase{Name: phase.name, Run: func(ctx context.Context, c *tiers.Checking) error {
			return e.guarded(ctx, func() error { return phase.run(&checking{e, c}, ctx) })
		}})
	}
	return e.registry.Check(ctx, o, progress)
}

// families are what the keys of this package's records begin with.
func families() []string {
	return []string{prefixPromotion, prefixOpen, prefixKey, prefixWaiting, prefixReplica, prefixStanding, prefixPolicy, prefixTierPolicy,
		prefixRevocation, revokedKey, prefixRedeciding, prefixRedecided}
}

// arrivalState says whether anybody works on an attempt, or will, or, of a promotion
// itself, whether it has not ended. Of an attempt that is not the last one nothing is left
// when the next begins.
func (e *Engine) arrivalState(ctx context.Context, id string) (tiers.ArrivalState, error) {
	promotion, number := id, ""
	if i := strings.LastIndexByte(id, '.'); i >= 0 {
		promotion, number = id[:i], id[i+1:]
	}
	records, err := e.registry.Catalog().Get(ctx, prefixPromotion+promotion, prefixOpen+promotion)
	if err != nil {
		return tiers.ArrivalState{}, err
	}
	gone := tiers.ArrivalState{If: []tiers.Condition{tiers.Unchanged(records[0]), tiers.Unchanged(records[1])}}
	if records[0].Revision == 0 {
		return gone, nil
	}
	j, err := tiers.Decode[journal](records[0])
	if err != nil {
		return tiers.ArrivalState{Open: true}, nil // nobody knows; that it cannot be read is reported
	}
	o := opened{journal: j}
	ended := records[1].Revision == 0 && j.State.Terminal()
	if number == "" { // the promotion itself: it holds its artifact, also while it waits
		if ended {
			return gone, nil
		}
		return tiers.ArrivalState{Open: true}, nil
	}
	attempt, err := strconv.Atoi(number)
	if err != nil || attempt != j.Attempt || ended || records[1].Revision == 0 && o.waits() {
		return gone, nil
	}
	return tiers.ArrivalState{Open: true}, nil
}

// about begins a finding about a promotion.
func about(j journal, invariant, kind string, severity tiers.Severity) tiers.Finding {
	return tiers.Finding{Invariant: invariant, Kind: kind, Severity: severity, Tier: j.To, Repository: j.Repository, Digest: j.Digest, Key: prefixPromotion + j.ID}
}

// readJournal reads a journal; ok is false where there is none, or none that can be read,
// which is reported where the family is.
func (c *checking) readJournal(ctx context.Context, id string) (record tiers.Record, j journal, ok bool, err error) {
	records, err := c.Get(ctx, prefixPromotion+id)
	if err != nil {
		return record, j, false, err
	}
	if record = records[0]; record.Revision == 0 {
		return record, j, false, nil
	}
	j, err = tiers.Decode[journal](record)
	return record, j, err == nil, nil
}

// delete reports a record that leads nowhere, and deletes it as long as it, and what the
// judgement rests on, stands as it was read.
func (c *checking) delete(ctx context.Context, f tiers.Finding, record tiers.Record, rests ...tiers.Condition) error {
	f.Key, f.Remedy = record.Key, "sluice fsck --repair   # deletes the record"
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, tiers.Change{If: append([]tiers.Condition{tiers.Unchanged(record)}, rests...), Delete: []string{record.Key}})
	})
}

// targetOf opens the repository that a promotion brings to; nil where its tier is not
// configured any more.
func (c *checking) targetOf(j journal) *tiers.Repository {
	r, err := c.engine.registry.Repository(j.To, j.Repository, j.RequestedBy)
	if err != nil || oci.CheckName(j.Repository) != nil {
		return nil
	}
	return r
}
