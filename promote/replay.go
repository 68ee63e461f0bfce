package promote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// Replay makes the records of a catalog of the entries of its ledger, in their order.
type Replay struct {
	Model    *tiers.Model
	registry *tiers.Registry
}

// NewReplay begins with a registry that holds nothing.
func NewReplay(registry *tiers.Registry) *Replay {
	return &Replay{Model: registry.Model(), registry: registry}
}

// Entry applies an entry.
func (r *Replay) Entry(ctx context.Context, entry ledger.Entry) error {
	e, err := tiers.Decode[tiers.Event](tiers.Record{Key: "ledger entry", Value: entry.Event})
	if err != nil {
		return fmt.Errorf("entry %d: %w", entry.Index, err)
	}
	r.Model.At(entry.Index)
	if put, ok := ledger.Ended(entry.Index, e); ok {
		r.Model.Put(put.Key, put.Value)
	}
	switch e.Type {
	case tiers.EventPolicySet:
		r.policySet(e)
	case tiers.EventPromoted, tiers.EventRefused, tiers.EventErrored:
		err = r.ended(ctx, e)
	case tiers.EventRevoked, tiers.EventRevocationLifted, tiers.EventRedecided:
		err = r.revoked(e)
	case tiers.EventStanding:
		err = r.redecided(e)
	case ledger.EventKeyChanged: // it is about the log alone
	default:
		err = r.Model.Apply(e)
	}
	if err != nil {
		return fmt.Errorf("entry %d: %w", entry.Index, err)
	}
	return nil
}

func (r *Replay) policySet(e tiers.Event) {
	r.Model.Put(prefixPolicy+e.Policy, tiers.Encode(PolicyInfo{Name: e.Policy, Digest: e.Digest, From: e.From, To: e.Tier,
		SetBy: e.Actor, SetAt: e.Time, Document: string(e.Body)}))
	r.Model.Put(prefixTierPolicy+e.Tier, []byte(e.Policy))
}

// ended applies the end of a promotion. In a ledger of an older version the body does not say
// by what request it is found again; then the same request makes another one.
func (r *Replay) ended(ctx context.Context, e tiers.Event) error {
	j, err := tiers.Decode[journal](tiers.Record{Key: "event " + e.ID, Value: e.Body})
	if err != nil {
		return err
	}
	r.Model.Put(prefixPromotion+j.ID, tiers.Encode(j))
	if j.Key != "" {
		r.Model.Put(prefixKey+j.Key, []byte(j.ID))
	}
	r.standing(e, j)
	if e.Document == "" {
		return nil
	}
	data, err := r.registry.Document(ctx, e)
	if err != nil {
		return err
	}
	doc, err := tiers.Decode[Record](tiers.Record{Key: "document " + e.Document.String(), Value: data})
	if err != nil {
		return err
	}
	r.Model.Keep(e.Store, e.Document, j.ID)
	if err := r.Model.Content(e.Store, e.Document, e.Key, int64(len(data)), ""); err != nil {
		return err
	}
	return r.arrived(e, j, doc)
}

// standing applies what was decided about an artifact that stands above.
func (r *Replay) standing(e tiers.Event, j journal) {
	if e.Type == tiers.EventErrored || e.Type == tiers.EventRefused && j.Standing == nil || j.Verdict == nil {
		return
	}
	s := standingRecord{Promotion: j.ID, Allowed: j.Verdict.Allowed, Since: e.Time, Refused: refusedBy(*j.Verdict)}
	if j.Standing != nil && !j.Standing.Since.IsZero() {
		s.Since = j.Standing.Since
	}
	r.Model.Put(standingKey(j.To, j.Repository, j.Digest), tiers.Encode(s))
}

// arrived applies the document of what a promotion brought.
func (r *Replay) arrived(e tiers.Event, j journal, doc Record) error {
	m := r.Model
	digests := digestsOf(doc)
	for _, c := range doc.Contents {
		if err := m.Content(e.Store, c.Digest, c.Key, c.Size, ""); err != nil {
			return err
		}
		if !slices.Contains(digests, c.Digest) {
			m.Link(j.To, j.Repository, c.Digest, c.Size)
		}
	}
	for _, v := range doc.Manifests {
		m.Manifest(j.To, j.Repository, v.Digest, tiers.ManifestRecord{MediaType: v.MediaType, Size: v.Size, ArtifactType: v.ArtifactType,
			Subject: v.Subject, CreatedAt: orTime(v.CreatedAt, e.Time), By: j.RequestedBy})
	}
	for _, t := range doc.Tags {
		if err := m.Tag(j.To, j.Repository, t.Tag, t.Digest, orTime(t.SetAt, e.Time), j.RequestedBy); err != nil {
			return err
		}
	}
	return nil
}

// orTime is a time of a document, or that of its event where an older version did not say
// it.
func orTime(at, event time.Time) time.Time {
	if at.IsZero() {
		return event
	}
	return at
}

// revoked applies what became of a revocation. What was being decided anew begins anew.
func (r *Replay) revoked(e tiers.Event) error {
	revocation, err := tiers.Decode[Revocation](tiers.Record{Key: "event " + e.ID, Value: e.Body})
	if err != nil {
		return err
	}
	r.Model.Put(prefixRevocation+revocation.ID, e.Body)
	deciding := Redecision{State: RedecisionPending, At: revocation.CreatedAt}
	switch e.Type {
	case tiers.EventRedecided:
		r.Model.Delete(prefixRedeciding + revocation.ID)
		return nil
	case tiers.EventRevocationLifted:
		deciding.Lifting, deciding.At = true, revocation.Lifted.At
	default:
		var all revokedRecord
		if record := r.Model.Get(revokedKey); record.Revision != 0 {
			if all, err = tiers.Decode[revokedRecord](record); err != nil {
				return err
			}
		}
		r.Model.Put(revokedKey, tiers.Encode(revokedRecord{Count: all.Count + 1}))
	}
	r.Model.Put(prefixRedeciding+revocation.ID, tiers.Encode(deciding))
	return nil
}

// redecided applies how an artifact stands after a redecision, and what is kept of that.
// Where a promotion decided about it, the event of that says the same.
func (r *Replay) redecided(e tiers.Event) error {
	if !strings.HasPrefix(e.Cause, causeRevocation) {
		return nil
	}
	for _, kept := range e.Records {
		r.Model.Put(kept.Key, kept.Value)
	}
	record := r.Model.Get(standingKey(e.Tier, e.Repository, e.Digest))
	if record.Revision == 0 {
		return nil
	}
	s, err := tiers.Decode[standingRecord](record)
	if err != nil {
		return err
	}
	told, err := tiers.Decode[Standing](tiers.Record{Key: "event " + e.ID, Value: e.Body})
	if err != nil {
		return err
	}
	s.Allowed, s.Since = told.Allowed, told.Since
	for _, name := range told.Changed { // each says the other thing now
		if i := slices.Index(s.Refused, name); i >= 0 {
			s.Refused = slices.Delete(s.Refused, i, i+1)
		} else {
			s.Refused = append(s.Refused, name)
		}
	}
	r.Model.Put(record.Key, tiers.Encode(s))
	return nil
}
