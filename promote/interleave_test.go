package promote_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// dropReferrer takes evidence away although its subject is there, which no client can do:
// a retention rule might.
func (g *gate) dropReferrer(subject, referrer digest.Digest) {
	g.Helper()
	at := "@" + subject.String()
	_, err := g.registry.Catalog().Commit(g.Context(), tiers.Change{
		Delete: []string{"tier/dev/referrer/" + repository + at + "/" + referrer.String()},
		Put: []tiers.Put{
			{Key: "tier/dev/subject/" + repository + at, Value: []byte("{}")},
			{Key: "tier/dev/repo/" + repository, Value: []byte("{}")},
		},
	})
	if err != nil {
		g.Fatal(err)
	}
}

// What happens between the decision and its commit.
func TestInterleaved(t *testing.T) {
	type world struct {
		*gate
		image, provenance ocispec.Descriptor
	}
	for name, c := range map[string]struct {
		between func(w world)
		request func(w world) promote.Request // nil: by tag 1.0
		state   promote.State
		err     error
		check   func(w world, p promote.Promotion)
	}{
		"the tag moved": {
			between: func(w world) { w.provenance = w.gate.provenance(w.gate.image("1.0", "two", nil)) },
			state:   promote.Errored, err: oci.ErrConflict,
		},
		"the tag was deleted": {
			between: func(w world) { w.must(w.repo("dev").DeleteTag(w.Context(), "1.0")) },
			state:   promote.Errored, err: oci.ErrConflict,
		},
		"the artifact was deleted": {
			between: func(w world) { w.must(w.repo("dev").DeleteManifest(w.Context(), w.image.Digest)) },
			request: func(w world) promote.Request { return request(w.image.Digest.String(), "stable", "1.0") },
			state:   promote.Errored, err: oci.ErrManifestUnknown,
		},
		"the evidence was deleted": {
			between: func(w world) { w.dropReferrer(w.image.Digest, w.provenance.Digest) },
			state:   promote.Failed,
		},
		"other evidence was deleted": {
			between: func(w world) {
				other := w.attest(w.image, testType, `{}`, w.ci)
				w.dropReferrer(w.image.Digest, other.Digest)
			},
			state: promote.Succeeded,
		},
		"evidence came": {
			between: func(w world) { w.attest(w.image, testType, `{}`, w.ci) },
			state:   promote.Succeeded,
		},
		"the policy asks for more": {
			between: func(w world) {
				document := bytes.ReplaceAll(w.policyDocument("dev-to-stable", "dev", "stable", ""), []byte(provenanceType), []byte(testType))
				_, err := w.engine.SetPolicy(w.Context(), "admin", "dev-to-stable", document, "")
				w.must(err)
			},
			state: promote.Failed,
			check: func(w world, p promote.Promotion) { w.decidedBy(p) },
		},
		"the key is no longer trusted": {
			between: func(w world) {
				trusting := *w.gate
				_, trusting.ciPEM = newKey(w.T)
				trusting.setPolicy("dev-to-stable", "dev", "stable", "")
			},
			state: promote.Failed,
			check: func(w world, p promote.Promotion) { w.decidedBy(p) },
		},
		"the policy begins a freeze": {
			between: func(w world) {
				w.setPolicy("dev-to-stable", "dev", "stable", fmt.Sprintf("  freeze:\n    - {name: now, from: %q, until: %q}",
					time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
			},
			state: promote.Failed,
			check: func(w world, p promote.Promotion) { w.decidedBy(p) },
		},
		"the policy asks for the same": {
			between: func(w world) { w.setPolicy("dev-to-stable", "dev", "stable", `  repositories: ["acme/*"]`) },
			state:   promote.Succeeded,
			check:   func(w world, p promote.Promotion) { w.decidedBy(p) },
		},
		"another promotion set the tag": {
			between: func(w world) {
				other := w.gate.image("other", "other", nil)
				w.gate.provenance(other)
				w.promoteOK(request("other", "stable", "1.0"))
			},
			state: promote.Errored, err: oci.ErrTagImmutable,
		},
		"another promotion set the tag to the same": {
			between: func(w world) { w.promoteOK(request(w.image.Digest.String(), "stable", "1.0")) },
			state:   promote.Succeeded,
		},
		"another promotion moved the moving tag": {
			between: func(w world) {
				other := w.gate.image("other", "other", nil)
				w.gate.provenance(other)
				w.promoteOK(request("other", "stable", "latest"))
			},
			request: func(w world) promote.Request { return request("1.0", "stable", "latest") },
			state:   promote.Succeeded,
			check:   func(w world, p promote.Promotion) { w.complete("stable", "latest", w.image.Digest) },
		},
		"the policies of other tiers changed": {
			between: func(w world) { w.setPolicy("stable-to-release", "stable", "release", `  repositories: ["x"]`) },
			state:   promote.Succeeded,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{gate: newGate(t, nil)}
			hooked, h := w.process(true)
			w.image = w.gate.image("1.0", "one", nil)
			w.provenance = w.gate.provenance(w.image)
			r := request("1.0", "stable")
			if c.request != nil {
				r = c.request(w)
			}
			happened := false
			h.before("committed/", func() { happened = true; c.between(w) })
			p, _, err := hooked.engine.Promote(t.Context(), "manager", r)
			if p.State != c.state || !errors.Is(err, c.err) || !happened {
				t.Fatalf("got %s, %v (%s, %+v), between %v; want %s, %v", p.State, err, p.Error, p.Verdict, happened, c.state, c.err)
			}
			if c.state == promote.Succeeded {
				w.complete("stable", w.image.Digest.String(), w.image.Digest)
			} else if name != "another promotion set the tag" {
				w.absent("stable", w.image.Digest, "1.0")
			} else if desc, err := w.repo("stable").Resolve(t.Context(), "1.0"); err != nil || desc.Digest == w.image.Digest {
				t.Errorf("the tag is %s, %v", desc.Digest, err)
			}
			if c.check != nil {
				c.check(w, p)
			}
			w.ended(p)
			w.noTraces()
		})
	}
}

// decidedBy checks that a verdict is of the policy in force now.
func (g *gate) decidedBy(p promote.Promotion) {
	g.Helper()
	info, err := g.engine.Policy(g.Context(), "dev-to-stable")
	if err != nil || p.Verdict == nil || p.Verdict.Policy != (policy.Identity{Name: info.Name, Digest: info.Digest}) {
		g.Errorf("decided by %+v; in force is %s, %v", p.Verdict, info.Digest, err)
	}
}

func (g *gate) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// ended checks that a promotion left one event, and that it says what the answer said.
func (g *gate) ended(p promote.Promotion) {
	g.Helper()
	var found []string
	for _, e := range g.events("promotion.") {
		if e.Cause == p.ID {
			found = append(found, string(e.Type))
		}
	}
	want := map[promote.State]string{promote.Succeeded: "promotion.succeeded", promote.Failed: "promotion.failed", promote.Errored: "promotion.errored"}[p.State]
	if len(found) != 1 || found[0] != want {
		g.Errorf("events %v, want one %s", found, want)
	}
	kept, err := g.engine.Promotion(g.Context(), p.ID)
	if err != nil || kept.State != p.State || kept.FinishedAt == nil || kept.FinishedAt.Before(kept.CreatedAt) {
		g.Errorf("kept is %+v, %v", kept, err)
	}
}

// Evidence under cosign's tag has no subject whose generation grows: the tag is compared.
func TestInterleavedCosignTag(t *testing.T) {
	for name, between := range map[string]func(g *gate, image ocispec.Descriptor, envelope []byte) error{
		// Evidence goes only with its subject, so of these only the last changes something.
		"deleted": func(g *gate, image ocispec.Descriptor, _ []byte) error {
			return refusedTag(g.repo("dev").DeleteTag(g.Context(), cosignTag(image.Digest, ".att")))
		},
		"replaced": func(g *gate, image ocispec.Descriptor, _ []byte) error {
			return refusedTag(g.repo("dev").Tag(g.Context(), image, cosignTag(image.Digest, ".att")))
		},
		"extended": func(g *gate, image ocispec.Descriptor, envelope []byte) error {
			g.att(image, envelope, g.envelope(image, testType))
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			hooked, h := g.process(true)
			image := g.image("1.0", "one", nil)
			envelope := g.envelope(image, provenanceType)
			g.att(image, envelope)
			var failed error
			h.before("committed/", func() { failed = between(g, image, envelope) })
			p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			if err != nil || p.State != promote.Succeeded || failed != nil {
				t.Fatalf("got %s, %v; between: %v", p.State, err, failed)
			}
			now, err := g.repo("dev").Resolve(t.Context(), cosignTag(image.Digest, ".att"))
			g.must(err)
			g.complete("stable", cosignTag(image.Digest, ".att"), now.Digest)
			g.ended(p)
			g.noTraces()
		})
	}
}

// refusedTag is nil where a tag could not be changed.
func refusedTag(err error) error {
	if errors.Is(err, oci.ErrTagImmutable) {
		return nil
	}
	return fmt.Errorf("the tag changed: %w", err)
}

// A tag that may not move and is set while the contents are copied: the first look at it is
// over then, and the commit would compare it with what it is now.
func TestTagSetDuringCopy(t *testing.T) {
	g := newGate(t, nil)
	hooked, h := g.process(true)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	other := g.image("other", "other", nil)
	g.provenance(other)
	h.before("pinned/", func() { g.promoteOK(request("other", "stable", "1.0")) })
	p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if !errors.Is(err, oci.ErrTagImmutable) || p.State != promote.Errored {
		t.Fatalf("got %s, %v; want %v", p.State, err, oci.ErrTagImmutable)
	}
	g.complete("stable", "1.0", other.Digest)
	g.absent("stable", image.Digest, "other")
	g.ended(p)
	g.noTraces()
}

// A basis that changes every time is given up, and says so.
func TestInterleavedForEver(t *testing.T) {
	g := newGate(t, nil)
	hooked, h := g.process(true)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	times := 0
	var again func()
	again = func() {
		times++
		g.setPolicy("dev-to-stable", "dev", "stable", fmt.Sprintf(`  repositories: ["**", "x%d"]`, times))
		h.before("committed/", again)
	}
	h.before("committed/", again)
	p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if !errors.Is(err, oci.ErrConflict) || p.State != promote.Errored || !strings.Contains(p.Error, "changed") || times != 5 {
		t.Fatalf("got %s, %v, %q after %d times", p.State, err, p.Error, times)
	}
	g.absent("stable", image.Digest, "1.0")
	g.ended(p)
	g.noTraces()
	g.promoteOK(request("1.0", "stable"))
}

// What happens between the request and the work: the request's digest is the one that is
// meant.
func TestTagMovedBeforeWork(t *testing.T) {
	g := newGate(t, nil)
	hooked, h := g.process(true)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	h.before("promotion-open/", func() { g.provenance(g.image("1.0", "two", nil)) })
	p, created, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if !created || !errors.Is(err, oci.ErrConflict) || p.State != promote.Errored || p.Digest != image.Digest {
		t.Fatalf("got %+v, %v, %v", p, created, err)
	}
	g.absent("stable", image.Digest, "1.0")
	g.ended(p)
	g.promoteOK(request("1.0", "stable"))
}

// A referrer that is deleted while the rest is copied, and is too large to be held in memory
// for so long, stays behind.
func TestReferrerDeletedDuringCopy(t *testing.T) {
	g := newGate(t, nil)
	hooked, h := g.process(true)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	sbom := g.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest, ArtifactType: sbomType, Config: g.blob([]byte("{}"), ocispec.MediaTypeEmptyJSON),
		Layers: []ocispec.Descriptor{g.blob([]byte("x"), sbomType)}, Subject: &image, Annotations: map[string]string{"a": strings.Repeat("x", 700<<10)}})
	h.before("pinned/", func() { g.must(g.repo("dev").DeleteManifest(t.Context(), sbom.Digest)) })
	p, _, err := hooked.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || p.State != promote.Succeeded {
		t.Fatalf("got %s, %v: %s", p.State, err, p.Error)
	}
	g.rose(false, sbom)
	g.complete("stable", "1.0", image.Digest)
	g.ended(p)
	g.noTraces()
}
