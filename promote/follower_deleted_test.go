package promote_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// An artifact that was taken out of a tier does not come back there by itself because
// somebody attached something to it below, good news of an authority even.
func TestFollowDeleted(t *testing.T) {
	a := following(t)
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 4*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	open := a.config // an operator opens the tier to take the artifact out
	open.Tiers = slices.Clone(open.Tiers)
	for i := range open.Tiers {
		open.Tiers[i].Push, open.Tiers[i].From, open.Tiers[i].FollowEvidence = true, "", false
		open.Tiers[i].MovingTags = []string{"*"}
	}
	opened, err := tiers.New(t.Context(), open)
	a.must(err)
	above, err := opened.Repository("stable", repository, "operator")
	a.must(err)
	a.must(above.DeleteManifest(t.Context(), image.Digest))
	defer a.running()()
	a.result(image, "PASSED", time.Hour)
	time.Sleep(3 * time.Second)
	if _, err := a.repo("stable").Resolve(t.Context(), image.Digest.String()); !errors.Is(err, oci.ErrManifestUnknown) {
		t.Errorf("the deleted artifact stands in stable again: %v", err)
	}
	if all := a.byItself("stable", image.Digest); len(all) != 0 {
		t.Errorf("promoted by itself: %s %s", all[0].State, all[0].ID)
	}
}
