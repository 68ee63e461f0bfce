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

// cosignSuffixes are the tags under which cosign keeps what belongs to a digest. The tag
// of a digest without a suffix is the fallback of the referrers API: an index that any
// pusher may write, so it never rises.
var cosignSuffixes = [...]string{".sig", ".att", ".sbom"}

// allReferrers is referrers of many nodes, of which is found out ahead what hangs on them.
func (p *planner) allReferrers(ctx context.Context, subjects []ocispec.Descriptor, level int) error {
	for chunk := range slices.Chunk(subjects, aheadChunk) {
		digests := make([]digest.Digest, len(chunk))
		for i, s := range chunk {
			digests[i] = s.Digest
		}
		if err := p.source.look(ctx, digests); err != nil {
			return err
		}
		for _, s := range chunk {
			if err := p.referrers(ctx, s, level); err != nil {
				return err
			}
		}
	}
	return nil
}

// referrers adds what is attached to a node and may rise, and what is attached to that.
func (p *planner) referrers(ctx context.Context, subject ocispec.Descriptor, level int) error {
	for last := ""; ; {
		page, next, err := p.source.Referrers(ctx, subject.Digest, "", last, referrerPage)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(page, aheadChunk) {
			if err := p.attachedTo(ctx, subject, chunk, level); err != nil {
				return err
			}
		}
		if next == "" {
			break
		}
		last = next
	}
	found, err := p.cosign(ctx, subject.Digest)
	if err != nil {
		return err
	}
	for _, t := range found {
		if rises, err := p.attached(ctx, subject, t.desc, t.tag, level); err != nil {
			return err
		} else if rises {
			if err := p.referrers(ctx, t.desc, level+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// attachedTo adds some referrers of a node, and then what is attached to them.
func (p *planner) attachedTo(ctx context.Context, subject ocispec.Descriptor, descs []ocispec.Descriptor, level int) error {
	if level <= maxReferrerDepth {
		unread := slices.DeleteFunc(p.unseen(descs), func(d ocispec.Descriptor) bool { return oci.IsIndex(d.MediaType) })
		if err := p.source.ahead(ctx, unread); err != nil {
			return err
		}
	}
	var risen []ocispec.Descriptor
	for _, desc := range descs {
		if rises, err := p.attached(ctx, subject, desc, "", level); err != nil {
			return err
		} else if rises {
			risen = append(risen, desc)
		}
	}
	return p.allReferrers(ctx, risen, level+1)
}

// attached adds one referrer, or says why it stays behind. What rises for the first time
// may have referrers of its own.
func (p *planner) attached(ctx context.Context, subject, desc ocispec.Descriptor, tag string, level int) (rises bool, err error) {
	if _, ok := p.seen[desc.Digest]; ok {
		if p.rises[desc.Digest] {
			p.tag(subject, desc, tag)
		}
		return false, nil
	}
	reason, m, err := p.refuses(ctx, desc, level)
	if err != nil {
		return false, err
	}
	if reason != "" {
		p.seen[desc.Digest] = 0
		p.stays(subject, desc, reason)
		return false, nil
	}
	p.rises[desc.Digest] = true
	if p.signed.wholly(desc.Digest, m) {
		p.plan.signed[desc.Digest] = true
	}
	p.tag(subject, desc, tag)
	return true, p.add(ctx, desc, m, 0)
}

// refuses says why a referrer stays behind; empty where it rises.
func (p *planner) refuses(ctx context.Context, desc ocispec.Descriptor, level int) (reason string, m *oci.Manifest, err error) {
	switch {
	case level > maxReferrerDepth:
		return fmt.Sprintf("attached %d levels deep, at most %d rise", level, maxReferrerDepth), nil, nil
	case len(p.plan.nodes) >= maxManifests:
		return fmt.Sprintf("more than %d manifests", maxManifests), nil, nil
	case oci.IsIndex(desc.MediaType):
		return "an index does not rise as a referrer", nil, nil
	}
	m, err = readManifest(ctx, p.source, desc)
	if errors.Is(err, oci.ErrUnavailable) || ctx.Err() != nil {
		return "", nil, err
	}
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err), nil, nil
	}
	if q, err := p.plan.quarantined.Among(ctx, holds(desc.Digest, m)...); err != nil {
		return "", nil, err
	} else if q != nil {
		return q.Holds(desc.Digest), nil, nil
	}
	if runs, err := p.runnable(ctx, desc.Digest, m); err != nil {
		return "", nil, err
	} else if runs {
		return "a runnable image does not rise as a referrer: it has an image configuration and a layer that is no attestation in JSON", nil, nil
	}
	if p.plan.references+references(m) > maxReferences {
		return fmt.Sprintf("more than %d references to blobs and manifests", maxReferences), nil, nil
	}
	listing := len(m.ArtifactType) + len(tiers.Encode(m.Annotations))
	switch {
	case listing > maxListing:
		return fmt.Sprintf("its type and annotations have %d bytes, at most %d rise", listing, maxListing), nil, nil
	case p.follows && !p.signed.wholly(desc.Digest, m):
		return "nothing rises by itself but what the policy's authorities signed", nil, nil
	case p.policy != nil && !p.policy.Carry().Admits(m.ArtifactType, p.verified.wholly(desc.Digest, m)):
		reason := fmt.Sprintf("the policy carries %s only", p.policy.Carry())
		if len(p.verified[desc.Digest]) > 0 {
			reason += ", and it holds more than verified attestations"
		}
		return reason, nil, nil
	}
	return "", m, nil
}

// tag lets one of cosign's tags rise with its manifest.
func (p *planner) tag(subject, desc ocispec.Descriptor, tag string) {
	switch {
	case tag == "":
	case len(p.plan.tags) == maxCosignTags:
		p.stays(subject, desc, "the manifest rises, its tag "+tag+" does not: too many for one promotion")
	default:
		p.plan.tags = append(p.plan.tags, cosignTag{tag: tag, desc: desc})
	}
}

// stays lists what stays behind. The list is in the journal, so it is bounded however
// much anybody attaches, and whatever they write into it.
func (p *planner) stays(subject, desc ocispec.Descriptor, reason string) {
	if len(p.plan.left) == maxLeft {
		p.unlisted++
		return
	}
	p.plan.left = append(p.plan.left, Left{Digest: desc.Digest, Subject: subject.Digest, ArtifactType: shortened(desc.ArtifactType), Reason: shortened(reason)})
}

func shortened(s string) string { return cut(s, 300) }
