package promote

import (
	"context"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// ruleQuarantine is the rule of verdicts about what is in quarantine.
const ruleQuarantine = "quarantine"

// quarantined is a verdict about an artifact that is in quarantine or holds what is: no,
// whatever the policy says, and the policy's own rules stand behind the one that says so.
// Approvals would not change it.
func quarantined(v policy.Verdict, q tiers.Quarantine, root digest.Digest) policy.Verdict {
	v.Allowed = false
	v.Rules = append([]policy.Rule{{
		Name: ruleQuarantine, Mode: policy.Enforce, Evidence: []policy.Used{}, Message: q.Holds(root),
		Remedy: "sluice quarantine lift " + q.Digest.String() + "   # for those who may, once it is found to be good",
	}}, v.Rules...)
	return v
}

// holds are the digests of a manifest and of all that it names, but its subject.
func holds(d digest.Digest, m *oci.Manifest) []digest.Digest {
	all := []digest.Digest{d}
	if m.Config != nil {
		all = append(all, m.Config.Digest)
	}
	for _, layer := range m.Layers {
		all = append(all, layer.Digest)
	}
	return all
}

// uncounted says of attestations why they do not count because they are in quarantine, by
// themselves or by their manifest; empty of those that may.
func uncounted(ctx context.Context, q *tiers.Quarantined, found []attest.Attachment) ([]string, error) {
	reasons := make([]string, len(found))
	for i, a := range found {
		held, err := q.Among(ctx, a.Manifest.Digest, a.Layer.Digest)
		if err != nil {
			return nil, err
		}
		if held != nil {
			reasons[i] = held.Holds(a.Manifest.Digest)
		}
	}
	return reasons, nil
}

// without is evidence as it counts: where there is a reason for nobody, and it still says what
// it states, so that whoever looks for it finds it.
func without(ev attest.Evidence, reason string) attest.Evidence {
	if reason != "" {
		ev.Problem, ev.Signers, ev.Functionaries = reason, nil, nil
	}
	return ev
}
