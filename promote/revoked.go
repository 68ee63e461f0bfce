package promote

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// revocations are those that were in force at one generation, never changed once it is made.
type revocations struct {
	head  tiers.Record // revoked
	count int          // with those that were lifted
	all   []held       // in the order in which they were added
	by    map[aboutRevoked][]held
}

// held is a revocation that is in force, and when it was added.
type held struct {
	*Revocation
	created int64 // revision
}

// aboutRevoked is what a revocation is found by.
type aboutRevoked struct {
	kind          RevocationKind
	issuer, value string
}

// revocations are those in force now.
func (e *Engine) revocations(ctx context.Context) (*revocations, error) {
	head, err := e.get(ctx, revokedKey)
	if err != nil {
		return nil, err
	}
	return e.revocationsAt(ctx, head)
}

// revocationsTries is how often they are read anew because they changed meanwhile.
const revocationsTries = 10

// revocationsAt are those in force at a generation, or at a later one.
func (e *Engine) revocationsAt(ctx context.Context, head tiers.Record) (*revocations, error) {
	for range revocationsTries {
		if head.Revision == 0 {
			return &revocations{head: head}, nil
		}
		if known := e.revoked.Load(); known != nil && known.head.Revision == head.Revision {
			return known, nil
		}
		generation, err := tiers.Decode[revokedRecord](head)
		if err != nil {
			return nil, err
		}
		records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefixRevocation, Limit: maxRevocations})
		if err != nil {
			return nil, fmt.Errorf("what is revoked: %w", err)
		}
		now, err := e.get(ctx, revokedKey)
		if err != nil {
			return nil, err
		}
		if now.Revision != head.Revision { // the list may show a part of the change
			head = now
			continue
		}
		read, err := newRevocations(head, generation.Count, records)
		if err != nil {
			return nil, err
		}
		e.revoked.Store(read)
		return read, nil
	}
	return nil, fmt.Errorf("%w: what is revoked changes all the time", oci.ErrUnavailable)
}

func newRevocations(head tiers.Record, count int, records []tiers.Record) (*revocations, error) {
	s := &revocations{head: head, count: count}
	for _, record := range records {
		r, err := tiers.Decode[Revocation](record)
		if err != nil {
			return nil, fmt.Errorf("what is revoked: %w", err) // nobody knows what counts
		}
		if r.Lifted == nil {
			s.all = append(s.all, held{&r, record.Created})
		}
	}
	slices.SortFunc(s.all, byCreation)
	s.index()
	return s, nil
}

func (s *revocations) index() {
	s.by = map[aboutRevoked][]held{}
	for _, h := range s.all {
		keys := []aboutRevoked{{h.Kind, h.Issuer, h.Value}}
		for _, d := range h.Signed {
			keys = append(keys, aboutRevoked{h.Kind, "", d.String()})
		}
		for _, key := range keys {
			s.by[key] = append(s.by[key], h)
		}
	}
}

// only are those of them that keep says.
func (s *revocations) only(keep func(held) bool) *revocations {
	out := &revocations{head: s.head, count: s.count}
	for _, h := range s.all {
		if keep(h) {
			out.all = append(out.all, h)
		}
	}
	out.index()
	return out
}

// with are they and one more.
func (s *revocations) with(r Revocation) *revocations {
	out := &revocations{head: s.head, count: s.count, all: append(slices.Clone(s.all), held{&r, s.head.Revision + 1})}
	out.index()
	return out
}

// same is one that revokes the very same; nil where there is none.
func (s *revocations) same(r Revocation) *Revocation {
	for _, h := range s.all {
		if h.Kind == r.Kind && h.Value == r.Value && h.Issuer == r.Issuer && h.From.Equal(r.From) && h.Until.Equal(r.Until) {
			return h.Revocation
		}
	}
	return nil
}

// against are those that speak against a signature.
func (s *revocations) against(ev attest.Evidence, signer attest.Signer, at time.Time) []held {
	var found []held
	look := func(kind RevocationKind, issuer, value string) {
		if value != "" {
			found = append(found, s.by[aboutRevoked{kind, issuer, value}]...)
		}
	}
	for _, d := range []digest.Digest{ev.Manifest, ev.Layer, ev.Signed} {
		look(RevokedAttestation, "", d.String())
	}
	look(RevokedKey, "", signer.KeyID)
	if signer.Issuer != "" {
		look(RevokedIdentity, signer.Issuer, signer.Subject)
	}
	for _, builder := range policy.BuildersOf(ev) {
		look(RevokedBuilder, "", builder)
	}
	if at.IsZero() {
		at = policy.StatedTime(ev)
	}
	found = slices.DeleteFunc(found, func(h held) bool { return !h.within(at) })
	slices.SortFunc(found, byCreation)
	return slices.Compact(found)
}

// within says whether what was signed at a time is revoked; what has none is.
func (r *Revocation) within(at time.Time) bool {
	return at.IsZero() || !at.Before(r.From) && (r.Until.IsZero() || at.Before(r.Until))
}

// String says what was revoked by whom, since when and why.
func (r *Revocation) String() string {
	what := string(r.Kind) + " " + r.Value
	if r.Issuer != "" {
		what += " of " + r.Issuer
	}
	scope := ""
	switch {
	case !r.From.IsZero() && !r.Until.IsZero():
		scope = fmt.Sprintf(" for what was signed from %s to %s", r.From.Format(time.RFC3339), r.Until.Format(time.RFC3339))
	case !r.From.IsZero():
		scope = fmt.Sprintf(" for what was signed since %s", r.From.Format(time.RFC3339))
	case !r.Until.IsZero():
		scope = fmt.Sprintf(" for what was signed before %s", r.Until.Format(time.RFC3339))
	}
	return fmt.Sprintf("%s was revoked by %s at %s%s: %s (revocation %s)", what, r.By, r.CreatedAt.Format(time.RFC3339), scope, r.Reason, r.ID)
}

// verify is the verifier's Verify, without what is revoked.
func (e *Engine) verify(revoked *revocations) verify {
	if len(revoked.all) == 0 {
		return e.verifier.Verify
	}
	return func(att attest.Attachment, subject digest.Digest, authorities []attest.Authority, now time.Time) attest.Evidence {
		var ids []string
		ev := e.verifier.VerifyExcept(att, subject, authorities, now, func(ev attest.Evidence, s attest.Signer, at time.Time) string {
			found := revoked.against(ev, s, at)
			if len(found) == 0 {
				return ""
			}
			for _, h := range found {
				ids = append(ids, h.ID)
			}
			reason := found[0].String()
			if at.IsZero() && policy.StatedTime(ev).IsZero() && !(found[0].From.IsZero() && found[0].Until.IsZero()) {
				reason += "; nothing says when it was signed"
			}
			return reason
		})
		slices.Sort(ids)
		ev.Revoked = slices.Compact(ids)
		return ev
	}
}
