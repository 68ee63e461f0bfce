package policy

import (
	"slices"
	"testing"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// A copy may be wrapped in other bytes, in another manifest, with other proof of its time.
// What is signed by another, says something else or is attached elsewhere is none.
func TestWithoutCopies(t *testing.T) {
	y := newYard(t)
	p := y.load(y.chain())
	content := y.signed(linkOf(buildLink()), true, "alice")
	attached := func(manifest string, content []byte) attest.Evidence {
		desc := func(text string) ocispec.Descriptor { return ocispec.Descriptor{Digest: digest.FromString(text)} }
		return attest.Verify(attest.Attachment{Format: attest.FormatLink, Content: content, Manifest: desc(manifest), Layer: desc(string(content))}, root, p.Authorities(), noon)
	}
	one := attached("one", content)
	again := attached("again", append(slices.Clone(content), "\n\n"...))
	if one.Signed == "" || one.Signed != again.Signed || one.Layer == again.Layer || len(one.Functionaries) != 1 {
		t.Fatalf("one %+v, again %+v", one, again)
	}
	both := attached("both", y.signed(linkOf(buildLink()), true, "alice", "root"))
	other := attached("other", y.signed(linkOf(packaged()), true, "alice"))
	elsewhere := one
	elsewhere.Subject = amd64.Digest
	unknown := attest.Evidence{Manifest: "a", Subject: root}
	stamped, later := one, one
	stamped.SignedAt, later.SignedAt = noon, noon.Add(time.Hour)
	first := min(one.Manifest, again.Manifest)
	for _, tt := range []struct {
		name string
		all  []attest.Evidence
		want int
	}{
		{"a copy", []attest.Evidence{one, again}, 1},
		{"the other order", []attest.Evidence{again, one}, 1},
		{"stamped, and later again", []attest.Evidence{later, again, stamped}, 1},
		{"signed by one more", []attest.Evidence{one, again, both}, 2},
		{"says something else", []attest.Evidence{one, again, other}, 2},
		{"attached elsewhere", []attest.Evidence{one, again, elsewhere}, 2},
		{"nothing is known", []attest.Evidence{one, again, unknown, unknown}, 3},
	} {
		got := withoutCopies(tt.all)
		if len(got) != tt.want || got[0].Manifest != first {
			t.Errorf("%s: %d, the first from %s: %+v", tt.name, len(got), got[0].Manifest, got)
		}
		if tt.name == "stamped, and later again" && !got[0].SignedAt.Equal(noon) {
			t.Errorf("it is stamped %s", got[0].SignedAt)
		}
	}
}

// linkOf gives a link the type that in-toto's library asks for.
func linkOf(link intoto.Link) intoto.Link {
	return with(link, func(l *intoto.Link) { l.Type = "link" })
}
