package workload

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/faults/history"
)

// Signer signs evidence as the policies ask for it.
type Signer = crypto.Signer

// promotion is one as clients have seen it.
type promotion struct {
	promote.Promotion
	called  int64 // the first request that got it
	seen    int64 // when it was first seen to be terminal; 0: never
	entries []*entry
	image   *Image // that was asked for
	needed  bool   // the evidence that the policy wants was acknowledged before
}

// attest signs a statement about an image and attaches it.
func (c *Client) attest(ctx context.Context, image *Image, predicateType string) {
	end := "failed"
	defer func() { c.journal.Count("attest", end) }()
	predicate := fmt.Appendf(nil, `{"by":"%d-%x"}`, c.number, c.rand.Uint64())
	statement, err := attest.NewStatement(predicateType, predicate, "", image.Desc.Digest)
	if err != nil {
		c.journal.Violation("make a statement: %v", err)
		return
	}
	bundle, err := attest.Sign(ctx, statement, c.setting.Keys)
	if err != nil {
		return // the end of the run
	}
	manifest, blobs, err := attest.BundleManifest(bundle, predicateType, image.Desc, time.Now())
	if err != nil {
		c.journal.Violation("make a bundle: %v", err)
		return
	}
	carrier := &Image{Repository: image.Repository, Body: manifest, evidence: map[string]evidence{}, rose: map[string]bool{},
		Desc: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(manifest), Size: int64(len(manifest))}}
	for _, b := range blobs {
		carrier.Blobs = append(carrier.Blobs, literalBlob(b.Content))
	}
	c.journal.attested(image, predicateType, evidence{digest: carrier.Desc.Digest, begun: true})
	if c.pushImage(ctx, carrier, "") == history.Done {
		c.journal.attested(image, predicateType, evidence{digest: carrier.Desc.Digest, begun: true, done: c.journal.now()})
		end = "done"
	}
}

// attested notes evidence of an image. What was acknowledged stays so.
func (j *Journal) attested(image *Image, predicateType string, e evidence) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if image.evidence[predicateType].done == 0 {
		image.evidence[predicateType] = e
	}
}

func (j *Journal) evidenceOf(image *Image, predicateType string) evidence {
	j.mu.Lock()
	defer j.mu.Unlock()
	return image.evidence[predicateType]
}

// gate is what it takes to rise from a tier.
type gate struct{ from, to, predicateType string }

// Gates are those of the cluster, from the bottom up. The evidence for the second has to be
// in the tier between, so it is attached before the first.
func Gates() [2]gate {
	return [2]gate{{"dev", "stable", Provenance}, {"stable", "release", TestResult}}
}

// The predicate types that the gates ask for.
const (
	Provenance = "https://slsa.dev/provenance/v1"
	TestResult = "https://in-toto.io/attestation/test-result/v0.1"
)

// promote asks for a promotion, now or in the background, and looks at what comes of it.
func (c *Client) promote(ctx context.Context, image *Image, g gate, tags []string) {
	kind, end := "promote to "+g.to, "unknown"
	defer func() { c.journal.Count(kind, end) }()
	reference := image.Desc.Digest.String()
	if g.from == "dev" && len(tags) == 0 && c.rand.IntN(2) == 0 {
		reference = image.Tag
	}
	if len(tags) == 0 {
		tags = []string{image.Tag}
	}
	body, err := json.Marshal(promote.Request{Repository: image.Repository, Reference: reference, From: g.from, To: g.to, Tags: tags})
	if err != nil {
		return // plain data: it cannot be
	}
	header := map[string]string{"Content-Type": "application/json"}
	if c.rand.IntN(2) == 0 {
		header["Prefer"] = "respond-async"
		kind += ", async"
	}
	e := c.journal.evidenceOf(image, g.predicateType)
	p := &promotion{called: c.journal.now(), image: image, needed: e.done > 0 && g.from == "dev"}
	for _, tag := range tags {
		p.entries = append(p.entries, c.journal.begin(c.number, tagName(g.to, image.Repository, tag), history.Write, image.Desc.Digest.String()))
	}
	p.entries = append(p.entries, c.journal.begin(c.number, image.name(g.to), history.Write, "there"))
	r := c.do(ctx, request{method: http.MethodPost, path: "/api/v1/promotions", header: header, body: body})
	end = c.promoted(ctx, r, p, g, reference)
}

// promoted judges the answer to a request for a promotion.
func (c *Client) promoted(ctx context.Context, r reply, p *promotion, g gate, reference string) string {
	known, ok := parsePromotion(r)
	switch {
	case ok:
		p.Promotion = known
		c.journal.saw(p)
		if !known.State.Terminal() && c.rand.IntN(2) == 0 {
			c.follow(ctx, p)
		}
		return string(p.State)
	case r.uncertain():
		return "unknown"
	}
	p.refused()
	switch {
	case r.status == http.StatusConflict: // others overtook it, or hold an immutable tag
		return "conflict"
	case r.status == http.StatusNotFound && g.from != "dev" && !c.journal.surely(p.image.name(g.from), p.called):
	case r.status == http.StatusNotFound && g.from == "dev" && (!c.journal.surely(p.image.name("dev"), p.called) || reference == p.image.Tag):
	default:
		c.journal.Violation("promotion of %s to %s was refused: %v", p.image.name(g.from), g.to, r)
	}
	return "refused"
}

func (p *promotion) refused() {
	for _, e := range p.entries {
		e.end(history.Refused, "")
	}
}

// parsePromotion finds the promotion in an answer, as itself or as the detail of an error.
func parsePromotion(r reply) (p promote.Promotion, ok bool) {
	if r.status == 0 {
		return p, false
	}
	var envelope struct {
		Errors []struct{ Detail promote.Promotion }
	}
	if r.status/100 != 2 {
		if json.Unmarshal(r.body, &envelope) != nil || len(envelope.Errors) == 0 {
			return p, false
		}
		p = envelope.Errors[0].Detail
		return p, p.ID != ""
	}
	return p, json.Unmarshal(r.body, &p) == nil && p.ID != ""
}

// saw notes what was seen of a promotion. The first terminal result is the only one.
func (j *Journal) saw(p *promotion) {
	j.mu.Lock()
	known := j.promotions[p.ID]
	if known == nil {
		known = p
		j.promotions[p.ID] = p
	} else if known != p {
		known.entries = append(known.entries, p.entries...)
		known.called = min(known.called, p.called)
		p.entries = nil
	}
	before, first := known.Promotion, known.seen == 0
	if p.State.Terminal() && first {
		known.seen = j.now()
		known.Promotion = p.Promotion
	}
	var entries []*entry
	if p.State.Terminal() {
		entries, known.entries = known.entries, nil
	}
	j.line(map[string]any{"at": j.now(), "promotion": p.ID, "state": p.State, "digest": p.Digest, "to": p.To})
	j.mu.Unlock()
	if !first && (before.State != p.State || before.Summary != p.Summary || before.Digest != p.Digest) {
		j.Violation("I6: promotion %s was %s and is %s", p.ID, before.State, p.State)
	}
	if !p.State.Terminal() {
		return
	}
	j.judge(known, p)
	for _, e := range entries {
		if p.State == promote.Succeeded {
			e.end(history.Done, "")
		} else {
			e.end(history.Refused, "")
		}
	}
}

// judge holds a result against the evidence that there was when it was asked for.
func (j *Journal) judge(known, p *promotion) {
	image := known.image
	if image == nil {
		return
	}
	predicateType := Gates()[0].predicateType
	if p.To == "release" {
		predicateType = Gates()[1].predicateType
	}
	e := j.evidenceOf(image, predicateType)
	switch {
	case p.State == promote.Succeeded && !e.begun:
		j.Violation("I4: promotion %s of %s succeeded without evidence", p.ID, image.name(p.From))
	case p.State == promote.Succeeded && p.Digest != image.Desc.Digest:
		j.Violation("I5: promotion %s moved %s instead of %s", p.ID, p.Digest, image.Desc.Digest)
	case p.State == promote.Succeeded && (p.Verdict == nil || !p.Verdict.Allowed):
		j.Violation("I4: promotion %s succeeded without an allowing verdict", p.ID)
	case p.State == promote.Failed && p.needed && j.surely(image.name(p.From), known.called):
		j.Violation("promotion %s of %s failed though the evidence was acknowledged: %s", p.ID, image.name(p.From), reasons(p.Promotion))
	}
	if p.State == promote.Succeeded {
		j.mu.Lock()
		image.rose[p.To] = true
		if name := image.name("dev"); j.risen[name] == 0 {
			j.risen[name] = j.now()
		}
		j.mu.Unlock()
	}
}

// rose says whether a promotion to a tier was seen to succeed.
func (j *Journal) rose(image *Image, tier string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return image.rose[tier]
}

func reasons(p promote.Promotion) string {
	if p.Verdict == nil {
		return p.Error
	}
	data, err := json.Marshal(p.Verdict.Rules)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// follow asks for a promotion until it is terminal, for a while.
func (c *Client) follow(ctx context.Context, p *promotion) {
	for try := range tries {
		if c.poll(ctx, p.ID) {
			return
		}
		c.pause(ctx, try)
	}
}

// poll reads a promotion and says whether it is terminal.
func (c *Client) poll(ctx context.Context, id string) bool {
	r := c.do(ctx, request{method: http.MethodGet, path: "/api/v1/promotions/" + id, user: "ops"})
	p, ok := parsePromotion(r)
	if !ok {
		if !r.uncertain() {
			c.journal.Violation("GET promotion %s: %v", id, r)
		}
		return false
	}
	c.journal.saw(&promotion{Promotion: p, called: c.journal.now()})
	return p.State.Terminal()
}

// root says whether a promotion brought d itself to a tier: not as a part of something.
func (j *Journal) root(tier, repository string, d digest.Digest) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, p := range j.promotions {
		if p.To == tier && p.Repository == repository && p.Digest == d && p.State == promote.Succeeded {
			return true
		}
	}
	return false
}
