package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// cosignSuffixes are the tags under which cosign keeps what belongs to a digest. The tag
// of a digest without a suffix is the fallback of the referrers API: an index that any
// pusher may write, so it never rises.
var cosignSuffixes = [...]string{".sig", ".att", ".sbom"}

// referrers adds what is attached to a node and may rise, and what is attached to that.
func (p *planner) referrers(ctx context.Context, subject ocispec.Descriptor, level int) error {
	for last := ""; ; {
		page, next, err := p.source.Referrers(ctx, subject.Digest, "", last, referrerPage)
		if err != nil {
			return err
		}
		for _, desc := range page {
			if err := p.attached(ctx, subject, desc, "", level); err != nil {
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
		if err := p.attached(ctx, subject, t.desc, t.tag, level); err != nil {
			return err
		}
	}
	return nil
}

// attached adds one referrer, or says why it stays behind.
func (p *planner) attached(ctx context.Context, subject, desc ocispec.Descriptor, tag string, level int) error {
	if _, ok := p.seen[desc.Digest]; ok {
		if p.rises[desc.Digest] {
			p.tag(subject, desc, tag)
		}
		return nil
	}
	reason, m, err := p.refuses(ctx, desc, level)
	if err != nil {
		return err
	}
	if reason != "" {
		p.seen[desc.Digest] = 0
		p.stays(subject, desc, reason)
		return nil
	}
	p.add(desc, m, 0)
	p.rises[desc.Digest] = true
	if p.signed.wholly(desc.Digest, m) {
		p.plan.signed[desc.Digest] = true
	}
	p.tag(subject, desc, tag)
	desc.MediaType = m.MediaType
	return p.referrers(ctx, desc, level+1)
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
	if runs, err := p.runnable(ctx, desc.Digest, m); err != nil {
		return "", nil, err
	} else if runs {
		return "a runnable image does not rise as a referrer: it has an image configuration and a layer that is no attestation in JSON", nil, nil
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

func shortened(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
