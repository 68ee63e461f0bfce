package tiers_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// What holds a digest are the manifests that need it and the indexes around them, in all
// tiers, and not what is attached to it.
func TestHolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	layer, config := w.blob(w.dev, bytesOf(1, 50)), w.blob(w.dev, []byte("{}"))
	first := w.manifest(w.dev, "first", image(config, nil, "", layer))
	second := w.manifest(w.dev, "second", image(config, nil, "a/b", layer))
	inner := w.manifest(w.dev, "inner", index(first))
	outer := w.manifest(w.dev, "outer", index(inner))
	attached := w.manifest(w.dev, "attached", image(config, &first, "a/b"))
	elsewhere := w.repo("dev", "acme/web")
	w.blob(elsewhere, bytesOf(1, 50))
	w.blob(elsewhere, []byte("{}"))
	w.manifest(elsewhere, "first", image(config, nil, "", layer))

	for d, want := range map[digest.Digest][]digest.Digest{
		layer.Digest:              {layer.Digest, first.Digest, second.Digest, inner.Digest, outer.Digest},
		config.Digest:             {config.Digest, first.Digest, second.Digest, inner.Digest, outer.Digest, attached.Digest},
		first.Digest:              {first.Digest, inner.Digest, outer.Digest},
		outer.Digest:              {outer.Digest},
		digest.FromString("none"): {digest.FromString("none")},
	} {
		got, err := w.Holders(t.Context(), d, len(want))
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s is held by %v, want %v", d, got, want)
		}
		if _, err := w.Holders(t.Context(), d, len(want)-1); len(want) > 1 && !errors.Is(err, oci.ErrRequestInvalid) {
			t.Errorf("of %d, more than there may be: %v", len(want), err)
		}
	}
}
