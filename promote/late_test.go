package promote_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// tested is a gate whose policies ask for a test that passed, and let rise what extra says.
func tested(t *testing.T, extra string) *approvers {
	t.Helper()
	a := newApprovers(t, 1, nil)
	rules := fmt.Sprintf("\n    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}, where: [\"predicate.result == 'PASSED'\"]}\n%s", testType, extra)
	a.require("dev-to-stable", "dev", "stable", rules)
	a.require("stable-to-release", "stable", "release", rules)
	return a
}

// result attaches a test result that was made some time ago.
func (a *approvers) result(subject ocispec.Descriptor, verdict string, ago time.Duration) ocispec.Descriptor {
	a.Helper()
	return a.attest(subject, testType, fmt.Sprintf(`{"result":%q,"finishedOn":%q}`, verdict, time.Now().Add(-ago).UTC().Format(time.RFC3339)), a.ci)
}

// promoteAgain promotes and expects a state.
func (a *approvers) promoteAgain(r promote.Request, state promote.State) promote.Promotion {
	a.Helper()
	p, _, err := a.engine.Promote(a.Context(), "manager", r)
	if err != nil || p.State != state {
		verdict, _ := json.Marshal(p.Verdict)
		a.Fatalf("got %s, %v (%s), want %s: %s", p.State, err, p.Error, state, verdict)
	}
	a.tidied()
	return p
}

// attached lists what hangs on a manifest in a tier.
func (a *approvers) attached(tier string, subject ocispec.Descriptor) []digest.Digest {
	a.Helper()
	referrers, err := a.repo(tier).Predecessors(a.Context(), subject)
	a.must(err)
	var all []digest.Digest
	for _, r := range referrers {
		all = append(all, r.Digest)
	}
	return all
}

// tagRevision is the revision of a tag's record: it tells whether the tag was written.
func (a *approvers) tagRevision(tier, tag string) int64 {
	a.Helper()
	records, err := a.registry.Catalog().Get(a.Context(), "tier/"+tier+"/tag/"+repository+":"+tag)
	a.must(err)
	return records[0].Revision
}

// Good news: only the new referrer and a new summary move, and no tag.
func TestLateEvidence(t *testing.T) {
	a := tested(t, "")
	image := a.platforms("1.0")
	a.result(image, "PASSED", 3*time.Hour)
	first := a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	if first.Standing != nil {
		t.Errorf("it stood nowhere before: %+v", first.Standing)
	}
	revision := a.tagRevision("stable", "1.0")
	late := a.result(image, "PASSED", time.Hour)
	p := a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	// The bundle, and the empty configuration, which is there already and linked.
	if p.Moved.Manifests != 2 || p.Moved.Blobs != 2 || len(p.Moved.Referrers) != 0 {
		t.Errorf("moved %+v, want the referrer and the summary", p.Moved)
	}
	if !slices.Contains(a.attached("stable", image), late.Digest) || a.summaries("stable", image) != 2 {
		t.Errorf("attached in stable: %v", a.attached("stable", image))
	}
	if got := a.tagRevision("stable", "1.0"); got != revision {
		t.Errorf("the tag was written again: %d, was %d", got, revision)
	}
	if s := p.Standing; s == nil || !s.Allowed || s.Previous != first.ID || len(s.Changed) != 0 || s.Since.Sub(*first.FinishedAt).Abs() > time.Second {
		t.Errorf("standing %+v after %s", s, first.FinishedAt)
	}
	if n := len(a.events("standing.")); n != 0 {
		t.Errorf("%d events of a standing that did not change", n)
	}
	a.noTraces()
}

// Bad news rises although the policy says no, as far as the artifact has come; what nobody
// signed, and images in disguise, do not.
func TestBadNews(t *testing.T) {
	a := tested(t, "")
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 3*time.Hour)
	first := a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.promoteAgain(request("1.0", "release"), promote.Succeeded)
	revision := a.tagRevision("stable", "1.0")

	bad := a.result(image, "FAILED", 2*time.Hour)
	stranger, _ := newKey(t)
	others := []ocispec.Descriptor{
		a.attest(image, testType, `{"result":"FAILED"}`, stranger),
		a.image("", "dressed", &image),
		a.index("", &image, a.image("", "child", nil)),
		a.artifact("", "application/vnd.example.note", "a note", &image),
	}
	p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
	if p.Moved.Manifests != 1 || !slices.Equal(p.Moved.Referrers, []digest.Digest{bad.Digest}) || p.Summary != "" {
		t.Errorf("moved %+v, want %s alone", p.Moved, bad.Digest)
	}
	if s := p.Standing; s == nil || s.Allowed || s.Previous != first.ID || !slices.Equal(s.Changed, []string{"tested"}) || s.Since.After(*p.FinishedAt) || s.Since.Before(p.CreatedAt) {
		t.Errorf("standing %+v", s)
	}
	there := a.attached("stable", image)
	if !slices.Contains(there, bad.Digest) {
		t.Errorf("attached in stable: %v", there)
	}
	for _, d := range others {
		if slices.Contains(there, d.Digest) {
			t.Errorf("%s rose although the policy says no", d.Digest)
		}
	}
	if got := a.tagRevision("stable", "1.0"); got != revision {
		t.Error("the tag was written")
	}
	a.complete("stable", "1.0", image.Digest)
	a.ended(p)
	events := a.events("standing.")
	if len(events) != 1 || events[0].Cause != p.ID || events[0].Tier != "stable" || events[0].Digest != image.Digest || !strings.Contains(string(events[0].Body), `"changed":["tested"]`) {
		t.Errorf("events %+v", events)
	}
	if failed := a.events("promotion.failed"); failed[len(failed)-1].Document == "" {
		t.Error("the event does not say what rose")
	}
	a.noTraces()

	// Asked again it is the same, and not told twice.
	again := a.promoteAgain(request("1.0", "stable"), promote.Failed)
	if again.Moved.Manifests != 0 || again.Standing == nil || len(again.Standing.Changed) != 0 || again.Standing.Previous != p.ID || !again.Standing.Since.Equal(p.Standing.Since) {
		t.Errorf("again: moved %+v, standing %+v", again.Moved, again.Standing)
	}
	if n := len(a.events("standing.")); n != 1 {
		t.Errorf("%d events", n)
	}
	// On to release.
	p = a.promoteAgain(request("1.0", "release"), promote.Failed)
	if !slices.Contains(a.attached("release", image), bad.Digest) || p.Standing == nil || p.Standing.Allowed {
		t.Errorf("in release %v, standing %+v", a.attached("release", image), p.Standing)
	}
	// And when it is mended.
	a.result(image, "PASSED", time.Hour)
	p = a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	if s := p.Standing; s == nil || !s.Allowed || !slices.Equal(s.Changed, []string{"tested"}) || s.Previous != again.ID {
		t.Errorf("standing %+v", s)
	}
	if n := len(a.events("standing.")); n != 3 {
		t.Errorf("%d events, want stable's and release's fall and stable's rise", n)
	}
	a.noTraces()
}

// What rises late, and what does not.
func TestLateLimits(t *testing.T) {
	t.Run("nothing stands above", func(t *testing.T) {
		a := tested(t, "")
		image := a.image("1.0", "one", nil)
		a.result(image, "FAILED", time.Hour)
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if p.Standing != nil || p.Moved.Manifests != 0 || len(a.attached("stable", image)) != 0 {
			t.Errorf("standing %+v, moved %+v", p.Standing, p.Moved)
		}
		a.without("standing/", "")
	})
	t.Run("the policy carries other types", func(t *testing.T) {
		a := tested(t, "  carry: [application/vnd.example.note]\n")
		image := a.image("1.0", "one", nil)
		a.result(image, "PASSED", 2*time.Hour)
		a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
		bad := a.result(image, "FAILED", time.Hour)
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if p.Moved.Manifests != 0 || slices.Contains(a.attached("stable", image), bad.Digest) || p.Standing == nil || p.Standing.Allowed {
			t.Errorf("moved %+v, standing %+v", p.Moved, p.Standing)
		}
	})
	t.Run("of a platform", func(t *testing.T) {
		a := tested(t, "")
		index := a.platforms("1.0")
		a.result(index, "PASSED", 2*time.Hour)
		a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
		_, body, err := a.repo("dev").Manifest(t.Context(), "1.0")
		a.must(err)
		m, err := oci.ParseManifest(index.MediaType, body)
		a.must(err)
		ofPlatform := a.result(m.Children[1], "FAILED", time.Hour)
		bad := a.result(index, "FAILED", time.Hour)
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if !slices.Contains(a.attached("stable", m.Children[1]), ofPlatform.Digest) || !slices.Contains(a.attached("stable", index), bad.Digest) {
			t.Errorf("moved %+v", p.Moved)
		}
	})
	t.Run("under cosign's tag", func(t *testing.T) {
		g := newGate(t, nil)
		image := g.image("1.0", "one", nil)
		provenance := g.envelope(image, provenanceType)
		g.att(image, provenance)
		g.promoteOK(request("1.0", "stable"))
		g.setPolicyOf(testType)
		now := g.att(image, provenance, g.envelope(image, "https://example.com/late"))
		p, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
		g.must(err)
		g.tidied()
		got, err := g.repo("stable").Resolve(t.Context(), cosignTag(image.Digest, ".att"))
		if p.State != promote.Failed || err != nil || got.Digest != now.Digest || p.Standing == nil {
			t.Errorf("%s: the tag is %s, %v, want %s; standing %+v", p.State, got.Digest, err, now.Digest, p.Standing)
		}
		g.noTraces()
	})
	t.Run("it rose before standings were kept", func(t *testing.T) {
		a := tested(t, "")
		image := a.image("1.0", "one", nil)
		a.result(image, "PASSED", 2*time.Hour)
		a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
		_, err := a.registry.Catalog().Commit(t.Context(), tiers.Change{Delete: []string{"standing/stable/" + repository + "@" + image.Digest.String()}})
		a.must(err)
		a.result(image, "FAILED", time.Hour)
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if s := p.Standing; s == nil || s.Allowed || s.Previous != "" || !s.Since.IsZero() || !slices.Equal(s.Changed, []string{"tested"}) || p.Moved.Manifests != 1 {
			t.Errorf("standing %+v, moved %+v", s, p.Moved)
		}
	})
	t.Run("the policy does not cover it any more", func(t *testing.T) {
		a := tested(t, "")
		image := a.image("1.0", "one", nil)
		a.result(image, "PASSED", 2*time.Hour)
		a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
		a.require("dev-to-stable", "dev", "stable", fmt.Sprintf("\n    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}}\n  repositories: [other]\n", testType))
		bad := a.result(image, "FAILED", time.Hour)
		p := a.promoteAgain(request("1.0", "stable"), promote.Failed)
		if slices.Contains(a.attached("stable", image), bad.Digest) || p.Standing == nil || p.Standing.Allowed {
			t.Errorf("standing %+v, moved %+v", p.Standing, p.Moved)
		}
	})
}

// setPolicyOf asks for evidence of another type.
func (g *gate) setPolicyOf(predicateType string) {
	g.Helper()
	document := strings.ReplaceAll(string(g.policyDocument("dev-to-stable", "dev", "stable", "")), provenanceType, predicateType)
	_, err := g.engine.SetPolicy(g.Context(), "admin", "dev-to-stable", []byte(document), "")
	g.must(err)
}

// An approval that comes after a rejection by the policy, with evidence that rose late, and
// what waits for it: the machinery is the same.
func TestLateWait(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	a.approve("alice", image)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.require("dev-to-stable", "dev", "stable", strings.ReplaceAll(a.rules(1), "built-by-ci", "built")) // approvals begin anew
	p := a.wait(request("1.0", "stable"))
	defer a.running()()
	a.push("bob", "rejected", image)
	p = a.ends(p.ID, promote.Failed)
	if p.Standing == nil || p.Standing.Allowed || !slices.Contains(p.Standing.Changed, "approved") || len(p.Moved.Referrers) != 1 {
		t.Errorf("standing %+v, moved %+v", p.Standing, p.Moved)
	}
	a.tidied()
	a.noTraces()
}

// Whatever write fails of bad news that rises: it is seen whole or not at all, the
// artifact stays as it is, and nothing is left.
func TestBadNewsFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault
		from int // between them the four meet every write
	}{
		"lost, and killed": {fault{fatal: true}, 0}, "applied, and killed": {fault{applied: true, fatal: true}, 1},
		"lost": {fault{}, 2}, "applied": {fault{applied: true}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := tested(t, "")
			n := c.from
			for a.badNewsFault(n, c.fault) {
				n += 4
			}
			if n < 10 || t.Failed() {
				t.Errorf("%d writes were tried", n)
			}
		})
	}
}

func (a *approvers) badNewsFault(n int, f fault) bool {
	a.Helper()
	tag := fmt.Sprint("b", n)
	image := a.image(tag, tag, nil)
	a.result(image, "PASSED", 2*time.Hour)
	a.promoteAgain(request(tag, "stable"), promote.Succeeded)
	bad := a.result(image, "FAILED", time.Hour)
	process, h := a.process(true)
	ctx, cancel := context.WithTimeout(a.Context(), 20*time.Second)
	defer cancel()
	hit := h.inject(n, f, func() {
		if f.fatal {
			cancel()
		} else {
			time.AfterFunc(500*time.Millisecond, cancel)
		}
	})
	_, _, _ = process.engine.Promote(ctx, "manager", request(tag, "stable"))
	process.engine.Close()
	next, clean := a.process(true)
	next.settle()
	p := a.promoteAgain(request(tag, "stable"), promote.Failed)
	there := a.attached("stable", image)
	if len(there) != 3 || !slices.Contains(there, bad.Digest) || p.Standing == nil || p.Standing.Allowed {
		a.Errorf("write %d: attached %d, standing %+v", n, len(there), p.Standing)
	}
	a.complete("stable", tag, image.Digest)
	if a.summaries("stable", image) != 1 {
		a.Errorf("write %d: another summary", n)
	}
	told := 0
	for _, e := range a.events("standing.") {
		if e.Digest == image.Digest {
			told++
		}
	}
	if told != 1 {
		a.Errorf("write %d: the fall was told %d times", n, told)
	}
	a.nothingOpen()
	if len(h.twice)+len(clean.twice) != 0 {
		a.Errorf("write %d: written twice: %v %v", n, h.twice, clean.twice)
	}
	return hit.Load() && !a.Failed()
}
