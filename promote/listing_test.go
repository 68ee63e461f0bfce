package promote_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

func TestPromotions(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	for range 3 { // refused: each time it is decided anew
		_, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
		g.must(err)
	}
	g.provenance(image)
	for i := range 3 {
		g.promoteOK(request("1.0", "stable", fmt.Sprint("t", i)))
	}
	g.promoteOK(request("t0", "release"))
	for name, c := range map[string]struct {
		filter promote.Filter
		want   int
	}{
		"all":                {promote.Filter{}, 7},
		"a tier":             {promote.Filter{To: "release"}, 1},
		"a state":            {promote.Filter{State: promote.Failed}, 3},
		"a repository":       {promote.Filter{Repository: repository}, 7},
		"another repository": {promote.Filter{Repository: "acme"}, 0},
		"all three":          {promote.Filter{Repository: repository, To: "stable", State: promote.Succeeded}, 3},
		"none":               {promote.Filter{State: promote.Errored}, 0},
	} {
		for _, n := range []int{1, 2, 3, 7, 1000, 1 << 30} {
			t.Run(fmt.Sprint(name, " by ", n), func(t *testing.T) {
				var ids []string
				for last := ""; ; {
					page, next, err := g.engine.Promotions(t.Context(), c.filter, last, n)
					if err != nil || len(page) > n || page == nil {
						t.Fatalf("got %d, %v", len(page), err)
					}
					for _, p := range page {
						ids = append(ids, p.ID)
						if one, err := g.engine.Promotion(t.Context(), p.ID); err != nil || one.State != p.State {
							t.Errorf("promotion %s: %+v, %v", p.ID, one, err)
						}
					}
					if next == "" {
						break
					}
					last = next
				}
				if len(ids) != c.want || !slices.IsSortedFunc(ids, func(a, b string) int { return strings.Compare(b, a) }) {
					t.Errorf("got %d, want %d, the newest first: %v", len(ids), c.want, ids)
				}
			})
		}
	}
	for _, n := range []int{0, -1} {
		if page, _, err := g.engine.Promotions(t.Context(), promote.Filter{}, "", n); err != nil || len(page) != 1 {
			t.Errorf("n=%d: %d, %v", n, len(page), err)
		}
	}
	for _, last := range []string{"0", "zzz", "../policy/", "\x00"} { // strange, but no crash
		if _, _, err := g.engine.Promotions(t.Context(), promote.Filter{}, last, 3); err != nil {
			t.Errorf("last %q: %v", last, err)
		}
	}
	for _, id := range []string{"", "x", "../policy/dev-to-stable", strings.Repeat("x", 2000)} {
		if _, err := g.engine.Promotion(t.Context(), id); !errors.Is(err, oci.ErrPromotionUnknown) {
			t.Errorf("promotion %q: %v", id, err)
		}
	}
}

func TestEvidence(t *testing.T) {
	g := newGate(t, nil)
	image := g.platforms("1.0")
	good := g.provenance(image)
	stranger, _ := newKey(t)
	unknown := g.attest(image, testType, `{}`, stranger)
	about := g.provenance(g.image("other", "other", nil)) // about something else, and not attached
	junk := g.artifact("", "application/vnd.dev.sigstore.bundle.v0.3+json", "{", &image)
	m, err := oci.ParseManifest("", g.body("dev", image.Digest))
	g.must(err)
	onPlatform := g.attest(m.Children[1], testType, `{}`, g.ci)

	check := func(tier string, want map[digest.Digest]string) {
		t.Helper()
		all, err := g.engine.Evidence(t.Context(), tier, repository, image.Digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range all {
			authority, expected := want[ev.Manifest]
			delete(want, ev.Manifest)
			switch {
			case !expected:
				t.Errorf("%s: unexpected %+v", tier, ev)
			case authority == "" && (ev.Verified() || ev.Problem == ""):
				t.Errorf("%s: %s is verified, or there is no reason why not: %+v", tier, ev.Manifest, ev)
			case authority != "" && (!ev.Verified() || ev.Signers[0].Authority != authority):
				t.Errorf("%s: %s: %q %+v, want it by %s", tier, ev.Manifest, ev.Problem, ev.Signers, authority)
			}
		}
		if len(want) != 0 {
			t.Errorf("%s: missing %v", tier, want)
		}
	}
	check("dev", map[digest.Digest]string{good.Digest: "ci", onPlatform.Digest: "ci", unknown.Digest: "", junk.Digest: ""})
	p := g.promoteOK(request("1.0", "stable"))
	q := g.promoteOK(request("1.0", "release"))
	stable := "https://registry.example.com/tiers/stable"
	check("stable", map[digest.Digest]string{good.Digest: "ci", onPlatform.Digest: "ci", unknown.Digest: "", junk.Digest: "", p.Summary: stable})
	check("release", map[digest.Digest]string{good.Digest: "ci", onPlatform.Digest: "ci", unknown.Digest: "", junk.Digest: "", p.Summary: stable,
		q.Summary: "https://registry.example.com/tiers/release"})

	for name, c := range map[string]struct {
		tier, repository string
		digest           digest.Digest
		want             error
	}{
		"tier":       {"prod", repository, image.Digest, oci.ErrTierUnknown},
		"repository": {"dev", "acme/none", image.Digest, oci.ErrManifestUnknown},
		"not risen":  {"stable", repository, about.Digest, oci.ErrManifestUnknown},
		"digest":     {"dev", repository, "sha256:1", oci.ErrDigestInvalid},
	} {
		if _, err := g.engine.Evidence(t.Context(), c.tier, c.repository, c.digest); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// Evidence can be looked at where no policy says whose counts.
func TestEvidenceWithoutPolicy(t *testing.T) {
	g := bareGate(t, nil)
	image := g.image("1.0", "one", nil)
	g.provenance(image)
	all, err := g.engine.Evidence(t.Context(), "dev", repository, image.Digest)
	if err != nil || len(all) != 1 || all[0].Verified() || all[0].PredicateType != provenanceType {
		t.Errorf("got %+v, %v", all, err)
	}
}

func (g *gate) body(tier string, d digest.Digest) []byte {
	g.Helper()
	_, body, err := g.repo(tier).Manifest(g.Context(), d.String())
	g.must(err)
	return body
}

func TestArtifacts(t *testing.T) {
	g := newGate(t, nil)
	index := g.platforms("1.0")
	g.must(g.repo("dev").Tag(t.Context(), index, "also"))
	provenance := g.provenance(index)
	g.promoteOK(request("1.0", "stable"))
	for tier, want := range map[string]int{"dev": 4, "stable": 5} {
		for _, n := range []int{1, 3, 5, 100} {
			found := map[digest.Digest]promote.Artifact{}
			var order []string
			for last := ""; ; {
				page, next, err := g.engine.Artifacts(t.Context(), tier, repository, last, n)
				if err != nil || len(page) > n {
					t.Fatalf("%s by %d: %d, %v", tier, n, len(page), err)
				}
				for _, a := range page {
					found[a.Digest] = a
					order = append(order, a.Digest.String())
				}
				if next == "" {
					break
				}
				last = next
			}
			if len(order) != want || len(found) != want || !slices.IsSorted(order) {
				t.Errorf("%s by %d: %v", tier, n, order)
			}
			tags := map[string][]string{"dev": {"1.0", "also"}, "stable": {"1.0"}}[tier]
			if !slices.Equal(found[index.Digest].Tags, tags) || found[index.Digest].CreatedAt.IsZero() || found[provenance.Digest].Subject != index.Digest {
				t.Errorf("%s: %+v", tier, found)
			}
		}
	}
	if _, _, err := g.engine.Artifacts(t.Context(), "release", repository, "", 10); !errors.Is(err, oci.ErrNameUnknown) {
		t.Errorf("a repository that never held anything: %v", err)
	}
}
