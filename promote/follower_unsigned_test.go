package promote_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
)

// What rises by itself is evidence: what an authority signed. Anything else needs somebody
// who may promote and asks for it.
func TestFollowUnsigned(t *testing.T) {
	a := following(t)
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 4*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.promoteAgain(request("1.0", "release"), promote.Succeeded)
	summaries := a.summaries("release", image)
	defer a.running()()
	chart := a.artifact("", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "signed by nobody", &image)
	time.Sleep(4 * time.Second)
	for _, tier := range []string{"stable", "release"} {
		if _, err := a.repo(tier).Resolve(t.Context(), chart.Digest.String()); err == nil {
			t.Errorf("it came to %s, and nobody asked for it", tier)
		}
	}
	if n := a.summaries("release", image); n != summaries {
		t.Errorf("%d summaries in release, were %d", n, summaries)
	}
	// What an authority signed rises without it, and a copy of that moves nothing more.
	good := a.result(image, "PASSED", time.Hour)
	a.arrives("stable", image, good)
	a.arrives("release", image, good)
	a.tidied()
	all := a.byItself("stable", image.Digest)
	if reason := left(all[0], chart.Digest); len(all) != 1 || !strings.Contains(reason, "nothing rises by itself") {
		t.Errorf("%d promotions; left because %q", len(all), reason)
	}
	_, body, err := a.repo("dev").Manifest(t.Context(), good.Digest.String())
	a.must(err)
	var m ocispec.Manifest
	a.must(json.Unmarshal(body, &m))
	m.Annotations = map[string]string{"a": "copy"}
	copied := a.manifest("", ocispec.MediaTypeImageManifest, m)
	time.Sleep(3 * time.Second)
	if n := len(a.byItself("stable", image.Digest)); n != 1 || slices.Contains(a.attached("stable", image), copied.Digest) {
		t.Errorf("%d promotions after a copy", n)
	}
	a.noTraces()
}
