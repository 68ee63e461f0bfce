package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// Policy is a document that was found right and is ready to decide. It is immutable and
// safe for use by many goroutines. The zero value allows nothing.
type Policy struct {
	doc         Document
	canonical   []byte
	digest      digest.Digest
	authorities []attest.Authority
	builders    map[string][]builder // by the authority that may sign for them
	// functionaries perform the steps of the policy's layouts; they sign nothing else.
	functionaries []attest.Authority
	rules         []rule
	exceptions    *exceptions // nil: none are accepted
	freezes       []freeze
	warnings      []string
}

// rule is a requirement, compiled.
type rule struct {
	Requirement
	maxAge, minAge time.Duration // zero: no limit
	from, until    time.Time     // zero: no bound
	conditions     []*condition
	checks         []check
	sole           soleCheck // nil: claims are tried one by one
	overAll        bool      // looks at all verified evidence
	// exceptors are the authorities that make exceptions from the rule, if any may.
	exceptors []string
}

// Load reads a policy document, YAML or its canonical form. read gives the content of a
// file of trust that the document names; where it is nil, files are refused. The error wraps
// oci.ErrPolicyInvalid and joins everything that is wrong, one problem a line.
func Load(raw []byte, read func(file string) ([]byte, error)) (*Policy, error) {
	doc, problems := parse(raw)
	if doc == nil {
		return nil, problems.err()
	}
	l := loader{problems: problems, doc: doc, read: read}
	p := &Policy{}
	l.header()
	p.authorities = l.authorities()
	l.thresholds(p.authorities)
	p.builders = l.builders()
	p.rules = l.rules(p.authorities)
	p.functionaries = l.functionaries
	p.freezes = l.freezes()
	p.exceptions = l.exceptions(p.authorities, l.names)
	for i := range p.rules {
		if x := p.exceptions; x != nil && slices.Contains(x.Rules, p.rules[i].Name) {
			p.rules[i].exceptors = x.From.Authorities
		}
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	p.doc, p.warnings = *doc, l.warnings
	canonical, err := canonical(p.doc)
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", doc.Metadata.Name, err)
	}
	if len(canonical) > MaxSize { // what is stored has to load again
		problems.add("document", "has %d bytes with its keys and roots inlined, at most %d are allowed", len(canonical), MaxSize)
		return nil, problems.err()
	}
	p.canonical, p.digest = canonical, digest.FromBytes(canonical)
	return p, nil
}

// canonical renders a document that is complete, as JSON: the keys in the order of the
// types, so that the same policy gives the same bytes.
func canonical(doc Document) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Name is the policy's name.
func (p *Policy) Name() string { return p.doc.Metadata.Name }

// Canonical is the document with its keys and roots inlined and its defaults filled in. Loading it
// needs no files and gives the same policy.
func (p *Policy) Canonical() []byte { return bytes.Clone(p.canonical) }

// Digest is the SHA-256 of the canonical document.
func (p *Policy) Digest() digest.Digest { return p.digest }

// From is the tier that the policy lets artifacts leave.
func (p *Policy) From() string { return p.doc.Spec.From }

// To is the tier that the policy guards.
func (p *Policy) To() string { return p.doc.Spec.To }

// Matches says whether the policy is about a repository, named without its tier.
func (p *Policy) Matches(repository string) bool {
	for _, glob := range p.doc.Spec.Repositories {
		if doublestar.MatchUnvalidated(glob, repository) {
			return true
		}
	}
	return false
}

// Authorities are those whose signatures the policy accepts, in the document's order, and
// the functionaries of its layouts.
func (p *Policy) Authorities() []attest.Authority {
	return slices.Concat(p.authorities, p.functionaries)
}

// Carry says which referrers rise with an artifact.
func (p *Policy) Carry() Carry { return p.doc.Spec.Carry }

// Quarantines says whether an artifact is put in quarantine that would no longer pass because
// evidence of it was revoked.
func (p *Policy) Quarantines() bool { return p.doc.Spec.OnRevoked == Quarantine }

// Warnings say what loads but is probably not meant, a threshold that can never be met say.
func (p *Policy) Warnings() []string { return slices.Clone(p.warnings) }

// Document is the policy for display; callers leave it as it is.
func (p *Policy) Document() Document { return p.doc }
