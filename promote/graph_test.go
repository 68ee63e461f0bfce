package promote_test

import (
	"testing"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content/memory"

	"sluice.dev/sluice/tiers"
)

// A repository is a graph target: ORAS's own algorithms work on it.
var _ oras.GraphTarget = (*tiers.Repository)(nil)

func TestRepositoryIsGraphTarget(t *testing.T) {
	g := newGate(t, nil)
	index := g.platforms("1.0")
	evidence := g.provenance(index)
	copied := memory.New()
	desc, err := oras.ExtendedCopy(t.Context(), g.repo("dev"), "1.0", copied, "1.0", oras.DefaultExtendedCopyOptions)
	if err != nil || desc.Digest != index.Digest {
		t.Fatalf("copy out: got %s, %v; want %s", desc.Digest, err, index.Digest)
	}
	if ok, err := copied.Exists(t.Context(), evidence); err != nil || !ok {
		t.Errorf("the evidence was not copied with the image: %v", err)
	}
	other, err := g.registry.Repository("dev", "acme/copy", "dev@example.com")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := oras.ExtendedCopy(t.Context(), copied, "1.0", other, "1.0", oras.DefaultExtendedCopyOptions); err != nil {
		t.Fatalf("copy in: %v", err)
	}
	referrers, err := other.Predecessors(t.Context(), index)
	if err != nil || len(referrers) != 1 || referrers[0].Digest != evidence.Digest {
		t.Errorf("got referrers %v, %v; want %s", referrers, err, evidence.Digest)
	}
}
