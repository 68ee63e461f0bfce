package policy

import (
	"fmt"

	"sluice.dev/sluice/promote/attest"
)

// maker is somebody who made the artifact, and how that is known.
type maker struct {
	signer   attest.Signer
	did      string // built, or which step he performed for
	evidence string // that he signed
}

// makers are who signed verified provenance of the artifact or of one of its platforms, or
// a link by which a step of a layout of the policy can be shown. They are found once.
func (e *evaluation) makers() []maker {
	if e.made != nil {
		return *e.made
	}
	var all []maker
	seen := map[attest.Signer]bool{}
	note := func(s attest.Signer, did, evidence string) {
		if !seen[s] {
			seen[s] = true
			all = append(all, maker{s, did, evidence})
		}
	}
	for _, ev := range e.Evidence {
		if ev.Verified() && isProvenance(ev.PredicateType) {
			for _, s := range ev.Signers {
				note(s, "built", "provenance "+short(ev.Manifest))
			}
		}
		if len(ev.Functionaries) == 0 {
			continue
		}
		link, err := ev.Link()
		if err != nil {
			continue // no layout holds by it
		}
		for _, s := range ev.Functionaries {
			if e.policy.performs(s, link, Platform{Digest: ev.Subject}) {
				note(s, fmt.Sprintf("performed step %s for", link.Name), fmt.Sprintf("link %s", short(ev.Manifest)))
			}
		}
	}
	e.made = &all
	return all
}

// performs says whether a link can stand for a step of a layout: a functionary of it signed
// it, and the last step made the target. Whether the artifact rules hold is not looked at:
// of several links of a step any may be the one.
func (p *Policy) performs(s attest.Signer, link attest.Link, target Platform) bool {
	for i := range p.rules {
		layout, ok := p.rules[i].sole.(*layoutCheck)
		if !ok {
			continue
		}
		for k, step := range layout.steps {
			if step.Name == link.Name && step.keys[s.KeyID] && (k < len(layout.steps)-1 || produces(link, target)) {
				return true
			}
		}
	}
	return false
}
