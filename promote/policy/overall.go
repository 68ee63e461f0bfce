package policy

import "sluice.dev/sluice/promote/attest"

// conditionsOverAll are the CEL conditions of whereAll: a check that looks at the accepted
// claims together.
type conditionsOverAll []*condition

var _ jointCheck = conditionsOverAll(nil)

// holds has nothing to say of one claim.
func (conditionsOverAll) holds(*trial, claim) string { return "" }

func (conditions conditionsOverAll) jointly(t *trial, target Platform, accepted []claim) string {
	vars := t.imageVariables()
	vars["attestations"] = attestations(accepted)
	for _, condition := range conditions {
		if reason := condition.holds(t.ctx, vars); reason != "" {
			return reason
		}
	}
	return ""
}

// attestations are the claims as conditions see them: each attestation once, with those of
// its signers who count. What is not known of one is left out.
func attestations(claims []claim) []map[string]any {
	list := []map[string]any{}
	position := map[[2]string]int{}
	for _, c := range claims {
		signer := map[string]any{"authority": c.signer.Authority, "principal": c.signer.Principal, "keyId": c.signer.KeyID}
		// A manifest may carry several attestations, so its digest does not tell them apart.
		key := [2]string{c.Manifest.String(), c.Layer.String()}
		if i, ok := position[key]; ok {
			list[i]["signers"] = append(list[i]["signers"].([]map[string]any), signer)
			continue
		}
		position[key] = len(list)
		one := map[string]any{
			"digest": c.Manifest.String(), "subject": c.Subject.String(), "predicateType": c.PredicateType,
			"statement": c.Statement, "signers": []map[string]any{signer},
		}
		if predicate := c.Predicate(); predicate != nil {
			one["predicate"] = predicate
		}
		if !c.SignedAt.IsZero() {
			one["signedAt"] = c.SignedAt
		}
		list = append(list, one)
	}
	return list
}

// verifiedAbout lists all that authorities of the policy signed about a target.
func (e *evaluation) verifiedAbout(target Platform) []claim {
	var claims []claim
	for _, ev := range e.Evidence {
		if ev.Subject != target.Digest || !ev.Verified() {
			continue
		}
		for _, s := range ev.Signers {
			if e.policy.knows(s) {
				claims = append(claims, claim{Evidence: ev, signer: s})
			}
		}
	}
	return claims
}

// knows says whether a signer is an authority of the policy: the registry verifies
// evidence with its own keys too, to show it.
func (p *Policy) knows(s attest.Signer) bool {
	for _, a := range p.authorities {
		if a.Name == s.Authority {
			return true
		}
	}
	return false
}
