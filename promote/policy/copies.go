package policy

import (
	"cmp"
	"fmt"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// withoutCopies leaves one of each attestation that is attached to a manifest several
// times: anybody can attach it again, wrapped another way, and it is no more than one. The
// first by the digests of the manifests stands for all, with the earliest time that any of
// them proves, as the signature was there by then.
func withoutCopies(all []attest.Evidence) []attest.Evidence {
	type content struct {
		subject, signed        digest.Digest
		predicateType, problem string
		signers                string
	}
	distinct := make([]attest.Evidence, 0, len(all))
	position := map[content]int{}
	for _, e := range all {
		signed := cmp.Or(e.Signed, e.Layer)
		if signed == "" { // nothing is known of what it holds
			distinct = append(distinct, e)
			continue
		}
		key := content{e.Subject, signed, e.PredicateType, e.Problem, fmt.Sprintf("%q %q", e.Signers, e.Functionaries)}
		i, ok := position[key]
		if !ok {
			position[key] = len(distinct)
			distinct = append(distinct, e)
			continue
		}
		one := &distinct[i]
		earliest := one.SignedAt
		if earliest.IsZero() || !e.SignedAt.IsZero() && e.SignedAt.Before(earliest) {
			earliest = e.SignedAt
		}
		if e.Manifest < one.Manifest {
			*one = e
		}
		one.SignedAt = earliest
	}
	return distinct
}
