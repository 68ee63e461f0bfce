package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/clients"
)

// notationJob signs in both of notation's ways. The referrers API must name every
// signature; the referrers tag is a manifest as any other and names those that notation
// entered there. Then the image rises, and its signatures with it.
func notationJob(t *testing.T, s *server, api *http.Client) {
	h := clients.New(t)
	notation := h.NewNotation()
	image := craneImage(t, h, s.host, "notation/app", "1.0")
	ref := s.host + "/dev/notation/app@" + image
	tag := oci.FallbackTag(digest.Digest(image))
	has(t, notation.VerifyRefused(ref), "no signature is associated")

	expect := func(when string, referrers, tagged int) (all, inTag []string) {
		t.Helper()
		all = s.index("dev/notation/app", "referrers/"+image)
		inTag = s.index("dev/notation/app", "manifests/"+tag)
		if len(all) != referrers || len(inTag) != tagged {
			t.Fatalf("%s the API names %v and the tag %v, want %d and %d", when, all, inTag, referrers, tagged)
		}
		for _, signature := range inTag {
			if !slices.Contains(all, signature) {
				t.Errorf("%s the API does not name %s, which the tag does", when, signature)
			}
		}
		has(t, notation.List(ref), all...)
		return all, inTag
	}
	notation.SignTag(ref)
	expect("signed with the tag,", 1, 1)
	notation.Verify(ref)
	notation.Sign(ref)
	expect("signed without it,", 2, 1)
	notation.SignTag(ref)
	signatures, _ := expect("signed with it again,", 3, 2)
	notation.Verify(ref)

	// A signature is evidence, and goes only with what it is about, whoever lists it.
	for _, signature := range signatures {
		h.Refused("crane", "delete", "--insecure", s.host+"/dev/notation/app@"+signature)
	}
	expect("after they should have gone,", 3, 2)
	notation.Verify(ref)

	s.attest(h, ref)
	s.run(0, "promote", s.host+"/dev/notation/app:1.0", "--to", "stable")
	above := s.host + "/stable/notation/app@" + image
	has(t, notation.List(above), signatures...)
	notation.Verify(above)
	// What a client wrote under the referrers tag is no evidence and does not rise.
	if tags := h.Run("crane", "ls", "--insecure", s.host+"/stable/notation/app"); strings.Contains(tags, tag) {
		t.Errorf("the referrers tag rose: %s", tags)
	}
	has(t, notation.SignRefused(above), "403")
}
