package promote_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// moving is a gate whose tag "latest" of stable named images "1" and then "2".
func moving(t *testing.T) (g *gate, images map[string]ocispec.Descriptor) {
	g = newGate(t, func(c *tiers.Config) { c.Tiers[1].MovingTags = []string{"latest"} })
	images = map[string]ocispec.Descriptor{}
	for _, name := range []string{"1", "2", "3", "never"} {
		images[name] = g.image(name, name, nil)
		g.provenance(images[name])
	}
	g.promoteOK(request("3", "stable"))
	g.promoteOK(request("1", "stable", "latest"))
	g.promoteOK(request("2", "stable", "latest", "2"))
	return g, images
}

func back(to ocispec.Descriptor, replaces digest.Digest, tags ...string) promote.Request {
	return promote.Request{Repository: repository, Reference: to.Digest.String(), To: "stable", Tags: tags, Rollback: true, Replaces: replaces}
}

func TestRollback(t *testing.T) {
	g, images := moving(t)
	first, second := images["1"], images["2"]
	for name, c := range map[string]struct {
		request promote.Request
		want    error
		says    string
	}{
		"by no tag":                {back(first, ""), oci.ErrRequestInvalid, "tags is missing"},
		"replaces what is not one": {back(first, "md5:1", "latest"), oci.ErrRequestInvalid, "replaces"},
		"replaces of no rollback":  {promote.Request{Repository: repository, Reference: "1", To: "stable", Replaces: first.Digest}, oci.ErrRequestInvalid, "goes with rollback"},
		"to what never rose":       {back(images["never"], "", "latest"), oci.ErrTagImmutable, "was never"},
		"to what had another tag":  {back(images["3"], "", "latest"), oci.ErrTagImmutable, "was never"},
		"of another tag with it":   {back(first, "", "2", "latest"), oci.ErrTagImmutable, "stable/acme/app:2 was never"},
		"of a tag that never was":  {back(first, "", "none"), oci.ErrTagImmutable, "stable/acme/app:none was never"},
		"from a tag that is not":   {back(first, second.Digest, "none"), oci.ErrConflict, "is not set"},
		"from something else":      {back(first, images["3"].Digest, "latest"), oci.ErrConflict, "is " + second.Digest.String()},
		"to nothing":               {back(ocispec.Descriptor{Digest: digest.FromString("")}, "", "latest"), oci.ErrManifestUnknown, ""},
	} {
		p, _, err := g.engine.Promote(t.Context(), "manager", c.request)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %+v, %v; want %v: %s", name, p, err, c.want, c.says)
		}
	}
	g.complete("stable", "latest", second.Digest)

	p := g.promoteOK(back(first, second.Digest, "latest"))
	g.complete("stable", "latest", first.Digest)
	g.complete("stable", "2", second.Digest)
	events := g.events("promotion.")
	var told promote.Promotion
	g.must(json.Unmarshal(events[len(events)-1].Body, &told))
	if !told.Rollback || told.Replaces != second.Digest || told.ID != p.ID || p.Summary == "" {
		t.Errorf("the event says %+v", told)
	}
	again, created, err := g.engine.Promote(t.Context(), "manager", back(first, second.Digest, "latest"))
	if err != nil || created || again.ID != p.ID {
		t.Errorf("asked again: %s, %v, %v; want %s", again.ID, created, err, p.ID)
	}

	// The tag may not move any more; it may still go forward to where it was.
	fixed := *g
	fixed.config.Tiers = append([]tiers.Tier{}, g.config.Tiers...)
	fixed.config.Tiers[1].MovingTags = nil
	still, _ := fixed.process(false)
	still.promoteOK(back(second, first.Digest, "latest"))
	g.complete("stable", "latest", second.Digest)
	g.noTraces()
}

// What would no longer pass is not gone back to.
func TestRollbackIsDecided(t *testing.T) {
	g, images := moving(t)
	g.setPolicy("dev-to-stable", "dev", "stable", `  repositories: ["acme/lib"]`)
	p, _, err := g.engine.Promote(t.Context(), "manager", back(images["1"], "", "latest"))
	if err != nil || p.State != promote.Failed {
		t.Errorf("got %+v, %v; want it refused", p, err)
	}
	g.complete("stable", "latest", images["2"].Digest)
	g.noTraces()
}

// Another promotion moves the tag while a rollback is under way: it stays there.
func TestRollbackOvertaken(t *testing.T) {
	for _, before := range []string{"pinned/", "committed/"} {
		g, images := moving(t)
		other, hooks := g.process(true)
		hooks.before(before, func() { _, _, _ = g.engine.Promote(t.Context(), "manager", request("3", "stable", "latest")) })
		_, _, err := other.engine.Promote(t.Context(), "manager", back(images["1"], images["2"].Digest, "latest"))
		if !errors.Is(err, oci.ErrConflict) {
			t.Errorf("before it writes %s: got %v, want a conflict", before, err)
		}
		g.complete("stable", "latest", images["3"].Digest)
		g.noTraces()
	}
}
