package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// cosignTags leaves out of the plan those of cosign's tags that would move above to a
// manifest without all the attestations that stand under them there. Whoever may push below
// writes such a tag as he likes; what has come to the tier above stays under it.
func (m *move) cosignTags(ctx context.Context) error {
	kept := *m.plan
	kept.tags = nil
	for _, t := range m.plan.tags {
		above, err := m.target.Resolve(ctx, t.tag)
		if err != nil && !errors.Is(err, oci.ErrManifestUnknown) {
			return err
		}
		t.replaces = above.Digest
		if t.replaces != "" && t.replaces != t.desc.Digest {
			reason, err := m.loses(ctx, above, t)
			if err != nil {
				return err
			}
			if reason != "" {
				m.leave(Left{Digest: t.desc.Digest, Subject: m.plan.basis.Root.Digest, Reason: shortened(reason)})
				continue
			}
		}
		kept.tags = append(kept.tags, t)
	}
	m.plan = &kept
	return nil
}

// loses says why a tag may not move from the manifest above; empty where it may.
func (m *move) loses(ctx context.Context, above ocispec.Descriptor, t cosignTag) (string, error) {
	stays := fmt.Sprintf("the tag %s stays at %s", t.tag, above.Digest)
	var manifests [2]*oci.Manifest
	for i, from := range []struct {
		repository *tiers.Repository
		desc       ocispec.Descriptor
	}{{m.target, above}, {m.source, t.desc}} {
		manifest, err := readManifest(ctx, from.repository, from.desc)
		if errors.Is(err, oci.ErrUnavailable) || ctx.Err() != nil {
			return "", err
		}
		if err != nil {
			return fmt.Sprintf("%s: %s cannot be read: %v", stays, from.desc.Digest, err), nil
		}
		manifests[i] = manifest
	}
	there := map[string]bool{}
	for _, layer := range manifests[1].Layers {
		there[attestationOf(layer)] = true
	}
	missing := 0
	for _, layer := range manifests[0].Layers {
		if !there[attestationOf(layer)] {
			missing++
		}
	}
	if missing == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s: the manifest below does not hold %d of the %d layers that stand under it above", stays, missing, len(manifests[0].Layers)), nil
}

// attestationOf identifies a layer with all that cosign says of it in annotations: two
// signatures of one payload differ in nothing else.
func attestationOf(layer ocispec.Descriptor) string {
	return string(tiers.Encode(ocispec.Descriptor{MediaType: layer.MediaType, Digest: layer.Digest, Size: layer.Size, Annotations: layer.Annotations}))
}

// untagged leaves out of what rises late the manifests that hung on the artifact by nothing
// but a tag that stays.
func (p *plan) untagged() {
	tagged := map[digest.Digest]bool{}
	for _, t := range p.tags {
		tagged[t.desc.Digest] = true
	}
	p.nodes = slices.DeleteFunc(p.nodes, func(n node) bool { return n.subject == "" && !tagged[n.desc.Digest] })
}
