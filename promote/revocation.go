package promote

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// Revocations. What was signed counts no more, in any tier, from the answer on: each change of
// them writes the record revoked, and every commit compares that with what it was when its
// policy was read, so a promotion that was decided before is decided again.
//
//	revocation/<id>                                Revocation
//	revoked                                        the generation of all: revokedRecord
//	redeciding/<id>                                what rested on it is being decided anew: Redecision
//	redecided/<id>/<tier>/<repo>@<digest>          what was found to be another then: Redecided
const (
	prefixRevocation = "revocation/"
	revokedKey       = "revoked"
	prefixRedeciding = "redeciding/"
	prefixRedecided  = "redecided/"

	maxRevocations    = 10_000 // those that were lifted among them
	maxRevokedValue   = 1024   // characters of an identity, its issuer, or a builder
	maxRevokeReason   = 500    // characters: quarantines give it on, and have bounds themselves
	maxRevokedHolders = 20     // manifests that are read for what a revoked attestation signs
)

// RevocationKind is what is revoked.
type RevocationKind string

// The kinds of revocations.
const (
	RevokedAttestation RevocationKind = "attestation" // the manifest that carries it, or the blob in that
	RevokedKey         RevocationKind = "key"         // a key id, also of an X.509 or Notary signer (Signer.KeyID)
	RevokedIdentity    RevocationKind = "identity"    // issuer and subject of certificates
	RevokedBuilder     RevocationKind = "builder"     // the id that provenance names
)

// Revocation takes evidence back: what it is about does not count, where it was signed in its
// range. The time is the one that is verified, else the one that the predicate states; where
// neither is known it counts as within.
type Revocation struct {
	ID     string         `json:"id"` // ULID
	Kind   RevocationKind `json:"kind"`
	Value  string         `json:"value"`            // digest, key id, subject of the certificate, or builder id
	Issuer string         `json:"issuer,omitempty"` // of an identity
	From   time.Time      `json:"from,omitzero"`    // zero: from the beginning
	Until  time.Time      `json:"until,omitzero"`   // not within any more; zero: for ever
	Reason string         `json:"reason"`
	By     string         `json:"by"`
	// CreatedAt is when it was revoked: whatever was signed before counts no more either,
	// unless the range says so.
	CreatedAt time.Time `json:"createdAt"`
	// Signed is what the signatures of an attestation are over: its copies do not count either.
	Signed []digest.Digest `json:"signed,omitempty"`
	// Lifted says who lifted it; it is in force where that is nil.
	Lifted *Lifted `json:"lifted,omitempty"`
	// Redecision is how far what rested on it is decided anew, or what that came to.
	Redecision Redecision `json:"redecision,omitzero"`
}

// Lifted is who lifted a revocation.
type Lifted struct {
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// RevocationRequest asks for one.
type RevocationRequest struct {
	Kind   RevocationKind `json:"kind"`
	Value  string         `json:"value"`
	Issuer string         `json:"issuer,omitempty"`
	From   time.Time      `json:"from,omitzero"`
	Until  time.Time      `json:"until,omitzero"`
	Reason string         `json:"reason"`
}

// revokedRecord is the generation of all revocations: its revision grows with each change.
type revokedRecord struct {
	Count int `json:"count"`
}

// check says whether something can be revoked so.
func (r RevocationRequest) check() error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{oci.ErrRequestInvalid}, args...)...)
	}
	if err := errors.Join(oci.CheckLine("the reason", r.Reason, maxRevokeReason), oci.CheckLine("value", r.Value, maxRevokedValue), oci.CheckLine("issuer", r.Issuer, maxRevokedValue)); err != nil {
		return err
	}
	switch {
	case r.Reason == "":
		return wrong("the reason is missing: whoever is refused is told it")
	case r.Value == "":
		return wrong("value is missing: want what is revoked")
	case (r.Issuer != "") != (r.Kind == RevokedIdentity):
		return wrong("an identity has an issuer, and nothing else has: kind is %q, issuer %q", r.Kind, r.Issuer)
	case !r.From.IsZero() && !r.Until.IsZero() && !r.From.Before(r.Until):
		return wrong("the range ends at %s and begins at %s: nothing is in it", r.Until.UTC().Format(time.RFC3339), r.From.UTC().Format(time.RFC3339))
	}
	switch r.Kind {
	case RevokedAttestation:
		_, err := oci.ParseDigest(r.Value)
		return err
	case RevokedKey:
		if id, err := hex.DecodeString(r.Value); err != nil || len(id) != 32 || strings.ToLower(r.Value) != r.Value {
			return wrong("%q is no key id: want the SHA-256 of the public key, 64 lower-case hex digits, as sluice evidence -o json shows it", r.Value)
		}
	case RevokedIdentity, RevokedBuilder:
	default:
		return wrong("kind is %q: want attestation, key, identity or builder", r.Kind)
	}
	return nil
}

// revocation is the record of who asks for it.
func (e *Engine) revocation(ctx context.Context, actor string, request RevocationRequest) (Revocation, error) {
	if err := request.check(); err != nil {
		return Revocation{}, err
	}
	r := Revocation{ID: e.registry.NewID(), Kind: request.Kind, Value: request.Value, Issuer: request.Issuer,
		From: request.From.UTC(), Until: request.Until.UTC(), Reason: request.Reason, By: actor, CreatedAt: e.registry.Now()}
	if r.Kind != RevokedAttestation {
		return r, nil
	}
	var err error
	r.Signed, err = e.signedIn(ctx, digest.Digest(r.Value))
	return r, err
}

// signedIn finds what the attestations of a manifest, or in a blob, are signatures over, where
// the registry has them.
func (e *Engine) signedIn(ctx context.Context, d digest.Digest) ([]digest.Digest, error) {
	affected, _, err := e.registry.Affected(ctx, d)
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for _, a := range affected[:min(len(affected), maxRevokedHolders)] {
		repo, err := e.registry.Repository(a.Tier, a.Repository, "")
		if err != nil {
			return nil, err
		}
		desc, err := repo.Resolve(ctx, a.Digest.String())
		if errors.Is(err, oci.ErrManifestUnknown) {
			continue // gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		layer := d
		if a.Digest == d {
			layer = ""
		}
		signed, err := attest.Signed(ctx, repo, desc, layer)
		if err != nil {
			return nil, err
		}
		all = append(all, signed...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// Revoke takes evidence back. Once nil is returned it counts nowhere; what rested on it is
// decided anew by Redecide. The same that is in force already is not added again: created is
// false then.
func (e *Engine) Revoke(ctx context.Context, actor string, request RevocationRequest) (r Revocation, created bool, err error) {
	r, err = e.revocation(ctx, actor, request)
	if err != nil {
		return Revocation{}, false, err
	}
	err = tiers.Retry(ctx, func() error {
		there, err := e.revocations(ctx)
		if err != nil {
			return err
		}
		if same := there.same(r); same != nil {
			r, created = *same, false
			return nil
		}
		if there.count >= maxRevocations {
			return fmt.Errorf("%w: there are %d revocations, lifted ones among them, which is the most", oci.ErrTooLarge, there.count)
		}
		_, err = e.registry.Catalog().Commit(ctx, tiers.Change{
			If: []tiers.Condition{tiers.Unchanged(there.head), tiers.Absent(prefixRevocation + r.ID)},
			Put: []tiers.Put{
				{Key: revokedKey, Value: tiers.Encode(revokedRecord{Count: there.count + 1})},
				{Key: prefixRevocation + r.ID, Value: tiers.Encode(r)},
				{Key: prefixRedeciding + r.ID, Value: tiers.Encode(Redecision{State: RedecisionPending, At: r.CreatedAt})},
				e.registry.EventPut(tiers.Event{Type: tiers.EventRevoked, Actor: actor, Cause: r.Reason, Body: tiers.Encode(r)}),
			},
		})
		created = err == nil
		return err
	})
	if err != nil {
		return Revocation{}, false, fmt.Errorf("revoke %s %s: %w", r.Kind, r.Value, err)
	}
	r, err = e.Revocation(ctx, r.ID)
	return r, created, err
}

// LiftRevocation lets evidence count again. What it changed is decided anew by Redecide. Of one
// that was lifted already nothing changes.
func (e *Engine) LiftRevocation(ctx context.Context, actor, id, reason string) (Revocation, error) {
	if err := oci.CheckLine("the reason", reason, maxRevokeReason); err != nil {
		return Revocation{}, err
	}
	err := tiers.Retry(ctx, func() error {
		r, records, err := e.readRevocation(ctx, id)
		if err != nil || r.Lifted != nil {
			return err
		}
		r.Redecision = Redecision{}
		r.Lifted = &Lifted{By: actor, At: e.registry.Now(), Reason: reason}
		_, err = e.registry.Catalog().Commit(ctx, tiers.Change{
			If: unchanged(records),
			Put: []tiers.Put{
				{Key: revokedKey, Value: records[2].Value},
				{Key: records[0].Key, Value: tiers.Encode(r)},
				{Key: records[1].Key, Value: tiers.Encode(Redecision{State: RedecisionPending, Lifting: true, At: r.Lifted.At})},
				e.registry.EventPut(tiers.Event{Type: tiers.EventRevocationLifted, Actor: actor, Cause: reason, Body: tiers.Encode(r)}),
			},
		})
		return err
	})
	if err != nil {
		return Revocation{}, fmt.Errorf("lift revocation: %w", err)
	}
	return e.Revocation(ctx, id)
}

// readRevocation reads a revocation, with its record, that of its redecision and the generation
// of all, at one revision.
func (e *Engine) readRevocation(ctx context.Context, id string) (r Revocation, records []tiers.Record, err error) {
	if _, err := ulid.ParseStrict(id); err != nil {
		return r, nil, fmt.Errorf("%w: %q", oci.ErrRevocationUnknown, id)
	}
	records, err = e.registry.Catalog().Get(ctx, prefixRevocation+id, prefixRedeciding+id, revokedKey)
	if err != nil {
		return r, nil, err
	}
	if records[0].Revision == 0 {
		return r, nil, fmt.Errorf("%w: %s", oci.ErrRevocationUnknown, id)
	}
	if r, err = tiers.Decode[Revocation](records[0]); err == nil && records[1].Revision != 0 {
		r.Redecision, err = tiers.Decode[Redecision](records[1])
	}
	return r, records, err
}

// Revocation finds one. The error wraps oci.ErrRevocationUnknown.
func (e *Engine) Revocation(ctx context.Context, id string) (Revocation, error) {
	r, _, err := e.readRevocation(ctx, id)
	return r, err
}

// Revocations lists at most n, those that were lifted too, in the order of their ids, after
// last. next is what to ask for as last to go on; empty at the end.
func (e *Engine) Revocations(ctx context.Context, last string, n int) (page []Revocation, next string, err error) {
	records, next, err := e.pageOf(ctx, prefixRevocation, last, n)
	if err != nil {
		return nil, "", err
	}
	page = make([]Revocation, 0, len(records))
	for _, record := range records {
		r, err := e.Revocation(ctx, strings.TrimPrefix(record.Key, prefixRevocation))
		if err != nil {
			return nil, "", err
		}
		page = append(page, r)
	}
	return page, next, nil
}

// pageOf reads a page of a family.
func (e *Engine) pageOf(ctx context.Context, prefix, last string, n int) (records []tiers.Record, next string, err error) {
	n = min(max(n, 1), tiers.MaxPage-1)
	query := tiers.Query{Prefix: prefix, Limit: n + 1}
	if last != "" {
		query.After = prefix + last
	}
	if records, err = e.registry.Catalog().List(ctx, query); err != nil {
		return nil, "", err
	}
	if len(records) > n {
		records = records[:n]
		next = strings.TrimPrefix(records[n-1].Key, prefix)
	}
	return records, next, nil
}

// byCreation is the order in which revocations were added, whatever clocks say.
func byCreation(a, b held) int { return cmp.Compare(a.created, b.created) }
