package promote_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
)

// resting is an artifact that rests on more evidence than a commit compares one by one.
type resting struct {
	*gate
	root, proof ocispec.Descriptor // and its provenance
	platform    ocispec.Descriptor // one of many
	tested      ocispec.Descriptor // what says that it was tested
	tag         []byte             // and what its tag holds, with cosign
}

// resting pushes an index of many platforms. With cosign each has evidence under a tag.
func (g *gate) resting(tag string, cosign bool) resting {
	g.Helper()
	var children []ocispec.Descriptor
	var envelopes [][]byte
	for i := range 42 {
		child := g.image("", fmt.Sprint(tag, i), nil)
		child.Platform = &ocispec.Platform{OS: "linux", Architecture: "arm", Variant: fmt.Sprint("v", i)}
		children = append(children, child)
		if cosign {
			envelopes = append(envelopes, g.envelope(child, testType))
			g.att(child, envelopes[i])
		}
	}
	r := resting{gate: g, root: g.index(tag, nil, children...), platform: children[7]}
	if cosign {
		r.tag = envelopes[7]
	}
	r.proof, r.tested = g.provenance(r.root), g.attest(r.platform, testType, `{}`, g.ci)
	return r
}

// An artifact that rests on very much evidence rises though others push to its repository
// all the while, and is decided again when any of the evidence goes or is another.
func TestRelied(t *testing.T) {
	push := func(r resting, n int) { r.image(fmt.Sprint("other", n), fmt.Sprint("other", n), nil) }
	for name, c := range map[string]struct {
		cosign   bool
		times    int // that something happens just before a commit
		happens  func(r resting, n int)
		attempts int
		state    promote.State
	}{
		"others push": {times: 8, happens: push, attempts: 1, state: promote.Succeeded},
		"evidence of a platform goes": {times: 1, attempts: 2, state: promote.Succeeded,
			happens: func(r resting, _ int) { r.dropReferrer(r.platform.Digest, r.tested.Digest) }},
		"what is asked for goes": {times: 1, attempts: 1, state: promote.Failed,
			happens: func(r resting, _ int) { r.dropReferrer(r.root.Digest, r.proof.Digest) }},
		"others push, many tags": {cosign: true, times: 8, happens: push, attempts: 1, state: promote.Succeeded},
		"a tag is another": {cosign: true, times: 1, attempts: 2, state: promote.Succeeded, happens: func(r resting, _ int) {
			r.att(r.platform, r.tag, r.envelope(r.platform, provenanceType))
		}},
		"evidence of a platform goes, many tags": {cosign: true, times: 1, attempts: 2, state: promote.Succeeded,
			happens: func(r resting, _ int) { r.dropReferrer(r.platform.Digest, r.tested.Digest) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newGate(t, nil)
			hooked, h := g.process(true)
			r := g.resting("1.0", c.cosign)
			n, attempts := 0, map[string]bool{}
			h.set(func(_ context.Context, w write) error {
				for _, put := range w.change.Put {
					if strings.HasPrefix(put.Key, "committed/") {
						attempts[put.Key] = true
						if n++; n <= c.times {
							c.happens(r, n)
						}
					}
				}
				return w.apply()
			})
			p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			h.set(nil)
			if p.State != c.state || err != nil || len(attempts) != c.attempts {
				t.Fatalf("got %s, %v, %q in %d attempts, want %s in %d", p.State, err, p.Error, len(attempts), c.state, c.attempts)
			}
			g.ended(p)
			g.noTraces()
			if c.state == promote.Succeeded {
				g.complete("stable", "1.0", r.root.Digest)
			}
		})
	}
}
