package promote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"sluice.dev/sluice/promote/attest"
)

// What authorities have stated, however it is wrapped: a copy of an attestation in another
// manifest, or in another form of the same bundle, is nothing new.

// statement identifies what an attestation states about what, and who signed it.
func statement(ev attest.Evidence) string {
	h := sha256.New()
	enc := json.NewEncoder(h) // what was decoded from JSON can be encoded
	_ = enc.Encode([]string{ev.Subject.String(), ev.PredicateType})
	_ = enc.Encode(ev.Statement)
	_ = enc.Encode(ev.Signers)
	return hex.EncodeToString(h.Sum(nil))
}

// statedBy lists what evidence states that was verified, once each, with a hash of all.
func statedBy(evidence []attest.Evidence) (hash string, all []string) {
	for _, ev := range evidence {
		if ev.Verified() {
			all = append(all, statement(ev))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(all)
	return hex.EncodeToString(h.Sum(nil)), all
}

// stated says whether authorities have stated anything below that is not above, since it
// was known what they had.
func (e *Engine) stated(ctx context.Context, p *prepared, r Request, known string) (bool, error) {
	hash, below := statedBy(p.plan.evidence)
	if hash == known || len(below) == 0 {
		return false, nil
	}
	target, err := e.registry.Repository(r.To, r.Repository, followActor)
	if err != nil {
		return false, err
	}
	var above []attest.Evidence
	for _, subject := range subjectsOf(p.plan.basis.Root, p.plan.platforms) {
		attached, err := attachedTo(ctx, target, e.verify(p.policy.revoked), subject, p.policy.Authorities(), e.registry.Now())
		if err != nil {
			return false, err
		}
		above = append(above, attached...)
	}
	_, there := statedBy(above)
	return slices.ContainsFunc(below, func(s string) bool {
		_, found := slices.BinarySearch(there, s)
		return !found
	}), nil
}
