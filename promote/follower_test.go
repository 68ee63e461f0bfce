package promote_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// following is a gate whose upper tiers follow the evidence below.
func following(t *testing.T) *approvers {
	t.Helper()
	a := newApprovers(t, 1, func(c *tiers.Config) {
		c.Tiers = slices.Clone(c.Tiers)
		for i := range c.Tiers {
			c.Tiers[i].FollowEvidence = c.Tiers[i].From != ""
		}
	})
	rules := fmt.Sprintf("\n    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}, where: [\"predicate.result == 'PASSED'\"]}\n", testType)
	a.require("dev-to-stable", "dev", "stable", rules)
	a.require("stable-to-release", "stable", "release", rules)
	return a
}

// arrives waits until a referrer hangs on a manifest in a tier.
func (a *approvers) arrives(tier string, subject, referrer ocispec.Descriptor) {
	a.Helper()
	for range 1000 {
		if slices.Contains(a.attached(tier, subject), referrer.Digest) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	a.Fatalf("%s did not come to %s", referrer.Digest, tier)
}

// byItself lists the promotions of an artifact to a tier that nobody asked for.
func (a *approvers) byItself(tier string, d digest.Digest) []promote.Promotion {
	a.Helper()
	all, _, err := a.engine.Promotions(a.Context(), promote.Filter{To: tier}, "", 1000)
	a.must(err)
	return slices.DeleteFunc(all, func(p promote.Promotion) bool { return p.RequestedBy != "sluice" || p.Digest != d })
}

// A scan that is attached in dev rises to release by itself, whatever it says, and once
// with two replicas that look.
func TestFollow(t *testing.T) {
	a := following(t)
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 4*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.promoteAgain(request("1.0", "release"), promote.Succeeded)
	untouched := a.image("2.0", "two", nil) // stands in dev alone
	revision := a.tagRevision("stable", "1.0")

	other, _ := a.process(false)
	defer a.running()()
	defer other.running()()
	good := a.result(image, "PASSED", 3*time.Hour)
	a.arrives("stable", image, good)
	a.arrives("release", image, good)
	for _, tier := range []string{"stable", "release"} {
		if all := a.byItself(tier, image.Digest); len(all) != 1 || len(all[0].Tags) != 0 || all[0].Standing == nil || !all[0].Standing.Allowed {
			t.Errorf("to %s: %+v", tier, all)
		}
	}
	bad := a.result(image, "FAILED", 2*time.Hour)
	a.arrives("stable", image, bad)
	a.arrives("release", image, bad)
	a.result(untouched, "FAILED", time.Hour)
	for range 3 { // other pushes to the repository are nothing to it
		a.image("busy", time.Now().String(), nil)
		time.Sleep(700 * time.Millisecond)
	}
	for _, tier := range []string{"stable", "release"} {
		all := a.byItself(tier, image.Digest)
		if len(all) != 2 || all[0].State != promote.Failed || all[0].Standing == nil || all[0].Standing.Allowed || !slices.Equal(all[0].Standing.Changed, []string{"tested"}) {
			t.Errorf("to %s: %+v", tier, all)
		}
		if all := a.byItself(tier, untouched.Digest); len(all) != 0 {
			t.Errorf("what does not stand there was promoted to %s: %+v", tier, all)
		}
	}
	if n := len(a.events("standing.")); n != 2 {
		t.Errorf("%d events of the two falls", n)
	}
	if got := a.tagRevision("stable", "1.0"); got != revision {
		t.Error("the tag was written")
	}
	a.tidied()
	a.noTraces()
}

// Without the setting nothing rises by itself.
func TestFollowOff(t *testing.T) {
	a := tested(t, "")
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 2*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	defer a.running()()
	bad := a.result(image, "FAILED", time.Hour)
	time.Sleep(1500 * time.Millisecond)
	if slices.Contains(a.attached("stable", image), bad.Digest) || len(a.byItself("stable", image.Digest)) != 0 {
		t.Error("it rose by itself")
	}
}

// An artifact that is deleted below, and evidence that rises to nowhere, keep nobody busy.
func TestFollowEnds(t *testing.T) {
	a := following(t)
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 2*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	defer a.running()()
	a.must(a.repo("dev").DeleteManifest(t.Context(), image.Digest))
	a.result(image, "FAILED", time.Hour) // about what is not there
	time.Sleep(1500 * time.Millisecond)
	if all := a.byItself("stable", image.Digest); len(all) != 0 {
		t.Errorf("promoted %+v", all)
	}
	a.complete("stable", "1.0", image.Digest)
}
