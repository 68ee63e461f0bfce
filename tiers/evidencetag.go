package tiers

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// evidenceTag are the tags under which cosign keeps the attestations and signatures of a
// digest: each a manifest of its own, which is written anew when one is added. Evidence
// goes only with its subject: whoever could take the newest scan out of such a tag could
// bring back an older one. So the tag moves only to manifests that hold all that it had,
// and goes only when the subject is gone.
var evidenceTag = regexp.MustCompile(`^(sha256|sha512)-([0-9a-f]+)\.(att|sig)$`)

// evidenceSubject is the digest that a tag keeps evidence about; empty for other tags.
func evidenceSubject(tag string) digest.Digest {
	parts := evidenceTag.FindStringSubmatch(tag)
	if parts == nil {
		return ""
	}
	d, err := oci.ParseDigest(parts[1] + ":" + parts[2])
	if err != nil {
		return ""
	}
	return d
}

// loses says whether a tag that keeps evidence may leave the manifest old for another, nil
// for none. The condition, where there is one, has to hold when it does. The error wraps
// oci.ErrTagImmutable.
func (r *Repository) loses(ctx context.Context, tag string, old digest.Digest, m *oci.Manifest) ([]Condition, error) {
	subject := evidenceSubject(tag)
	if subject == "" || subject == old { // nothing holds evidence about itself
		return nil, nil
	}
	gone := Absent(manifestKey(r.Tier.Name, r.Name, subject))
	record, err := r.get(ctx, gone.Key)
	if err != nil {
		return nil, err
	}
	if record.Revision == 0 {
		return []Condition{gone}, nil
	}
	if m == nil {
		return nil, fmt.Errorf("%w: %s:%s keeps evidence about %s and goes only with it", oci.ErrTagImmutable, r.FullName(), tag, subject)
	}
	before, err := r.parsed(ctx, old)
	if err != nil {
		return nil, err
	}
	for _, layer := range before.Layers {
		if !slices.ContainsFunc(m.Layers, func(l ocispec.Descriptor) bool { return sameEvidence(l, layer) }) {
			return nil, fmt.Errorf("%w: %s:%s keeps evidence about %s, %s among it, which the new manifest lacks: add to what is there, without --replace",
				oci.ErrTagImmutable, r.FullName(), tag, subject, layer.Digest)
		}
	}
	return nil, nil
}

// losesTo is loses for a manifest that is in the repository.
func (r *Repository) losesTo(ctx context.Context, tag string, old, d digest.Digest) ([]Condition, error) {
	m, err := r.parsed(ctx, d)
	if err != nil {
		return nil, err
	}
	return r.loses(ctx, tag, old, m)
}

// parsed reads and parses a manifest.
func (r *Repository) parsed(ctx context.Context, d digest.Digest) (*oci.Manifest, error) {
	desc, body, err := r.Manifest(ctx, d.String())
	if err != nil {
		return nil, err
	}
	return oci.ParseManifest(desc.MediaType, body)
}

// sameEvidence compares what cosign keeps of one attestation or signature: the signature
// itself stands in the annotations.
func sameEvidence(a, b ocispec.Descriptor) bool {
	return a.Digest == b.Digest && a.MediaType == b.MediaType && maps.Equal(a.Annotations, b.Annotations)
}
