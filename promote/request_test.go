package promote_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// A request that can never be carried out leaves no trace of itself.
func TestRequestRefused(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	var many []string
	for i := range 21 {
		many = append(many, fmt.Sprint("t", i))
	}
	hex := strings.Repeat("0a", 32)
	for name, c := range map[string]struct {
		request promote.Request
		want    error
	}{
		"a tier is skipped":         {promote.Request{Repository: repository, Reference: "1.0", From: "dev", To: "release"}, oci.ErrRequestInvalid},
		"from the tier itself":      {promote.Request{Repository: repository, Reference: "1.0", From: "stable", To: "stable"}, oci.ErrRequestInvalid},
		"downwards":                 {promote.Request{Repository: repository, Reference: "1.0", From: "release", To: "stable"}, oci.ErrRequestInvalid},
		"from an unknown tier":      {promote.Request{Repository: repository, Reference: "1.0", From: "qa", To: "stable"}, oci.ErrRequestInvalid},
		"to a pushed tier":          {request("1.0", "dev"), oci.ErrRequestInvalid},
		"to an unknown tier":        {request("1.0", "prod"), oci.ErrTierUnknown},
		"to nowhere":                {request("1.0", ""), oci.ErrTierUnknown},
		"not in the tier below":     {request("1.0", "release"), oci.ErrManifestUnknown},
		"no repository":             {promote.Request{Reference: "1.0", To: "stable"}, oci.ErrNameInvalid},
		"an invalid repository":     {promote.Request{Repository: "../app", Reference: "1.0", To: "stable"}, oci.ErrNameInvalid},
		"an upper-case repository":  {promote.Request{Repository: "Acme/App", Reference: "1.0", To: "stable"}, oci.ErrNameInvalid},
		"an unknown repository":     {promote.Request{Repository: "acme/other", Reference: "1.0", To: "stable"}, oci.ErrManifestUnknown},
		"a digest of another":       {promote.Request{Repository: "acme/other", Reference: image.Digest.String(), To: "stable"}, oci.ErrManifestUnknown},
		"an unknown tag":            {request("2.0", "stable"), oci.ErrManifestUnknown},
		"an unknown digest":         {request(digest.FromString("?").String(), "stable"), oci.ErrManifestUnknown},
		"another algorithm":         {request(digest.SHA512.FromString("?").String(), "stable"), oci.ErrManifestUnknown},
		"an upper-case digest":      {request("sha256:"+strings.ToUpper(image.Digest.Encoded()), "stable"), oci.ErrDigestInvalid},
		"a short digest":            {request("sha256:abc", "stable"), oci.ErrDigestInvalid},
		"no reference":              {request("", "stable"), oci.ErrRequestInvalid},
		"a reference that is none":  {request("a b", "stable"), oci.ErrRequestInvalid},
		"an invalid tag":            {request("1.0", "stable", "-x"), oci.ErrRequestInvalid},
		"an empty tag":              {request("1.0", "stable", ""), oci.ErrRequestInvalid},
		"too many tags":             {request("1.0", "stable", many...), oci.ErrRequestInvalid},
		"a tag of cosign's":         {request("1.0", "stable", "sha256-"+hex+".att"), oci.ErrRequestInvalid},
		"a fallback tag":            {request("1.0", "stable", "sha256-"+hex), oci.ErrRequestInvalid},
		"asked by cosign's tag":     {request("sha256-"+hex+".sig", "stable"), oci.ErrRequestInvalid},
		"a reason that is too long": {promote.Request{Repository: repository, Reference: "1.0", To: "stable", Reason: strings.Repeat("x", 1025)}, oci.ErrRequestInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			if p, created, err := g.engine.Promote(t.Context(), "manager", c.request); !errors.Is(err, c.want) || created || p.ID != "" {
				t.Errorf("promote: got %+v, %v, %v; want %v", p, created, err, c.want)
			}
			if _, created, err := g.engine.Start(t.Context(), "manager", c.request); !errors.Is(err, c.want) || created {
				t.Errorf("start: got %v, %v; want %v", created, err, c.want)
			}
			if _, err := g.engine.Evaluate(t.Context(), "manager", c.request); !errors.Is(err, c.want) {
				t.Errorf("evaluate: got %v, want %v", err, c.want)
			}
		})
	}
	if all, _, err := g.engine.Promotions(t.Context(), promote.Filter{}, "", 10); err != nil || len(all) != 0 {
		t.Errorf("recorded %v, %v", all, err)
	}
	if got := g.events("promotion."); len(got) != 0 {
		t.Errorf("events %v", got)
	}
	g.noTraces()
}

// The reason and twenty tags may be as large as they are allowed to be.
func TestRequestLimits(t *testing.T) {
	g := newGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	var tags []string
	for i := range 20 {
		tags = append(tags, fmt.Sprintf("t%02d", i), fmt.Sprintf("t%02d", i)) // twice is once
	}
	p := g.promoteOK(promote.Request{Repository: repository, Reference: "1.0", To: "stable", Tags: tags[:20], Reason: strings.Repeat("x", 1024)})
	if len(p.Tags) != 10 {
		t.Errorf("got tags %v", p.Tags)
	}
	if _, err := g.repo("stable").Resolve(t.Context(), "1.0"); !errors.Is(err, oci.ErrManifestUnknown) {
		t.Errorf("the tag that was asked by rose although others were named: %v", err)
	}
	tags = tags[:0]
	for i := range 20 {
		tags = append(tags, fmt.Sprintf("u%02d", i))
	}
	g.promoteOK(request("1.0", "stable", tags...))
	for _, tag := range tags {
		g.complete("stable", tag, p.Digest)
	}
}

func TestNoPolicy(t *testing.T) {
	g := bareGate(t, nil)
	g.provenance(g.image("1.0", "one", nil))
	if _, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUndecidable) {
		t.Errorf("promote: got %v, want %v", err, oci.ErrUndecidable)
	}
	if _, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUndecidable) {
		t.Errorf("evaluate: got %v, want %v", err, oci.ErrUndecidable)
	}
	g.noTraces()
}

func TestRepositoryNotCovered(t *testing.T) {
	g := bareGate(t, nil)
	g.setPolicy("dev-to-stable", "dev", "stable", `  repositories: ["other/**"]`)
	g.provenance(g.image("1.0", "one", nil))
	p, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || !created || p.State != promote.Failed {
		t.Fatalf("got %s, %v, %v; want it refused", p.State, created, err)
	}
	if rules := p.Verdict.Rules; p.Verdict.Allowed || len(rules) != 1 || rules[0].Name != "repositories" || rules[0].Allowed || !strings.Contains(rules[0].Message, repository) {
		t.Errorf("got verdict %+v", p.Verdict)
	}
	verdict, err := g.engine.Evaluate(t.Context(), "manager", request("1.0", "stable"))
	if err != nil || verdict.Allowed || verdict.Rules[0].Name != "repositories" {
		t.Errorf("evaluate: got %+v, %v", verdict, err)
	}
	g.absent("stable", p.Digest, "1.0")
}

func TestTags(t *testing.T) {
	g := newGate(t, nil)
	first := g.image("1.0", "one", nil)
	g.provenance(first)
	g.promoteOK(request("1.0", "stable", "1.0", "latest"))
	second := g.image("1.0", "two", nil)
	g.provenance(second)

	// An immutable tag stays, and nothing else of the request is done.
	p, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable", "1.0", "1.1", "latest"))
	if !errors.Is(err, oci.ErrTagImmutable) || created {
		t.Errorf("got %+v, %v, %v; want %v", p, created, err, oci.ErrTagImmutable)
	}
	g.complete("stable", "1.0", first.Digest)
	g.complete("stable", "latest", first.Digest)
	g.absent("stable", second.Digest, "1.1")

	// A moving one moves.
	g.promoteOK(request("1.0", "stable", "1.1", "latest"))
	g.complete("stable", "latest", second.Digest)
	g.complete("stable", "1.1", second.Digest)
	if tags, err := g.repo("stable").TagsOf(t.Context(), first.Digest); err != nil || len(tags) != 1 || tags[0] != "1.0" {
		t.Errorf("the former's tags are %v, %v", tags, err)
	}
	// Asked again for the former, it moves back: that is another promotion.
	back := g.promoteOK(promote.Request{Repository: repository, Reference: first.Digest.String(), To: "stable", Tags: []string{"latest"}})
	again := g.promoteOK(promote.Request{Repository: repository, Reference: first.Digest.String(), To: "stable", Tags: []string{"latest"}})
	g.complete("stable", "latest", first.Digest)
	if back.ID != again.ID {
		t.Error("the same again was another promotion")
	}
	forth := g.promoteOK(request("1.0", "stable", "1.1", "latest"))
	g.complete("stable", "latest", second.Digest)
	if forth.ID == back.ID {
		t.Error("one promotion did two things")
	}
	g.noTraces()
}

func TestByDigest(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	p := g.promoteOK(request(image.Digest.String(), "stable"))
	if p.Tags == nil || len(p.Tags) != 0 || p.Digest != image.Digest {
		t.Errorf("got %+v", p)
	}
	g.complete("stable", image.Digest.String(), image.Digest)
	tags, _, err := g.repo("stable").Tags(t.Context(), "", 10)
	if err != nil || len(tags) != 0 {
		t.Errorf("tags %v, %v", tags, err)
	}
	// With the tag it is another promotion, which brings nothing but that.
	q := g.promoteOK(request("1.0", "stable"))
	if q.ID == p.ID || q.Moved.Manifests != 1 || q.Moved.Blobs != 0 {
		t.Errorf("got %+v", q.Moved)
	}
	g.complete("stable", "1.0", image.Digest)
	g.promoteOK(request(image.Digest.String(), "release", "1.0"))
	g.complete("release", "1.0", image.Digest)
}

// events lists the events whose type begins with prefix, oldest first.
func (g *gate) events(prefix string) []tiers.Event {
	g.Helper()
	all, _, err := g.registry.Events(g.Context(), "", tiers.MaxPage)
	if err != nil {
		g.Fatal(err)
	}
	var events []tiers.Event
	for _, e := range all {
		if strings.HasPrefix(string(e.Type), prefix) {
			events = append(events, e)
		}
	}
	return events
}

// absent checks that nothing of a manifest, nor the tag, can be seen in a tier.
func (g *gate) absent(tier string, d digest.Digest, tag string) {
	g.Helper()
	for _, reference := range []string{d.String(), tag} {
		if _, err := g.repo(tier).Resolve(g.Context(), reference); !errors.Is(err, oci.ErrManifestUnknown) {
			g.Errorf("%s/%s can be seen: %v", tier, reference, err)
		}
	}
	referrers, _, err := g.repo(tier).Referrers(g.Context(), d, "", "", 10)
	if err != nil || len(referrers) != 0 {
		g.Errorf("referrers of %s in %s: %v, %v", d, tier, referrers, err)
	}
}
