package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Bounds of one promotion.
const (
	maxManifests     = 50_000  // manifests in a closure; referrers beyond stay behind
	maxReferrerDepth = 8       // referrers of referrers
	maxRelied        = 40      // records that are compared one by one when a promotion commits
	maxCosignTags    = 20      // that rise with one promotion; its transaction has no room for more
	maxListing       = 1 << 20 // bytes of a referrer's type and annotations, which the catalog keeps
	maxLeft          = 100     // referrers that stay behind and are listed one by one
	referrerPage     = 1000
)

// cosignSuffixes are the tags under which cosign keeps what belongs to a digest. The tag
// of a digest without a suffix is the fallback of the referrers API: an index that any
// pusher may write, so it never rises.
var cosignSuffixes = [...]string{".sig", ".att", ".sbom"}

// node is a manifest of the closure.
type node struct {
	desc     ocispec.Descriptor
	manifest *oci.Manifest
	depth    int // as the catalog counts: levels of indexes
}

// cosignTag is one of cosign's tags, which rises with the manifest it points at.
type cosignTag struct {
	tag  string
	desc ocispec.Descriptor
}

// plan is the closure of an artifact in the tier it rises from, and what a decision about
// it rests on. Making one reads and changes nothing.
type plan struct {
	basis     tiers.Basis
	nodes     []node // children before their index
	tags      []cosignTag
	left      []Left
	platforms []policy.Platform
	evidence  []attest.Evidence
	// relied are the records that change when evidence goes: the generations of its
	// subjects and cosign's tags.
	relied []tiers.Record
}

// digests lists every content of the closure once.
func (p *plan) digests(of []node) []digest.Digest {
	seen := map[digest.Digest]bool{}
	var all []digest.Digest
	add := func(d digest.Digest) {
		if !seen[d] {
			seen[d] = true
			all = append(all, d)
		}
	}
	for _, n := range of {
		for _, b := range n.manifest.Blobs() {
			add(b.Digest)
		}
		add(n.desc.Digest)
	}
	return all
}

// planner walks the closure.
type planner struct {
	engine *Engine
	source *tiers.Repository
	policy *policy.Policy // nil: everything is carried, nothing verified
	plan   *plan
	seen   map[digest.Digest]int // depth of what was visited
	// verified are the manifests that hold evidence which an authority signed.
	verified map[digest.Digest]bool
	looked   map[digest.Digest]bool // manifests of an index that may be platforms
	rises    map[digest.Digest]bool // referrers that do
	relied   map[string]bool        // keys of the records in plan.relied
	unlisted int                    // referrers that stay behind and are not in plan.left
}

func (e *Engine) planner(source *tiers.Repository, basis tiers.Basis, pol *policy.Policy) *planner {
	return &planner{engine: e, source: source, policy: pol, plan: &plan{basis: basis}, seen: map[digest.Digest]int{},
		verified: map[digest.Digest]bool{}, looked: map[digest.Digest]bool{}, rises: map[digest.Digest]bool{}, relied: map[string]bool{}}
}

// planFor makes the plan for what reference names now.
func (e *Engine) planFor(ctx context.Context, source *tiers.Repository, reference string, pol *policy.Policy) (*plan, error) {
	basis, err := source.Basis(ctx, reference)
	if err != nil {
		return nil, err
	}
	p := e.planner(source, basis, pol)
	if err := p.root(ctx, basis.Root); err != nil {
		return nil, fmt.Errorf("plan %s@%s: %w", source.FullName(), basis.Root.Digest, err)
	}
	return p.plan, nil
}

// root walks the artifact first, then looks for evidence about it and its platforms, and
// last adds the referrers: which of them rise depends on what was verified.
func (p *planner) root(ctx context.Context, desc ocispec.Descriptor) error {
	if _, err := p.visit(ctx, desc); err != nil {
		return err
	}
	own := len(p.plan.nodes)
	if err := p.findPlatforms(ctx, desc, 0); err != nil {
		return err
	}
	subjects := []digest.Digest{desc.Digest}
	for _, platform := range p.plan.platforms {
		subjects = append(subjects, platform.Digest)
	}
	for _, subject := range subjects {
		if err := p.findEvidence(ctx, subject); err != nil {
			return err
		}
	}
	// Backwards: where there is a limit, what belongs to the artifact itself comes first.
	for _, n := range slices.Backward(p.plan.nodes[:own]) {
		if err := p.referrers(ctx, n.desc, 1); err != nil {
			return err
		}
	}
	if len(p.plan.relied) > maxRelied {
		p.plan.relied = []tiers.Record{p.plan.basis.Generation} // changes with any of them
	}
	if p.unlisted > 0 {
		p.plan.left[maxLeft-1].Reason += fmt.Sprintf("; %d more stay behind and are not listed", p.unlisted)
	}
	return nil
}

// visit adds a manifest and, before it, its children.
func (p *planner) visit(ctx context.Context, desc ocispec.Descriptor) (depth int, err error) {
	if depth, ok := p.seen[desc.Digest]; ok {
		return depth, nil
	}
	if len(p.plan.nodes) >= maxManifests {
		return 0, fmt.Errorf("%w: more than %d manifests belong to the artifact", oci.ErrTooLarge, maxManifests)
	}
	m, err := p.read(ctx, desc)
	if err != nil {
		return 0, err
	}
	if oci.IsIndex(m.MediaType) {
		depth = 1
	}
	for _, child := range m.Children {
		below, err := p.visit(ctx, child)
		if err != nil {
			return 0, err
		}
		depth = max(depth, below+1)
	}
	p.add(desc, m, depth)
	return depth, nil
}

func (p *planner) add(desc ocispec.Descriptor, m *oci.Manifest, depth int) {
	p.seen[desc.Digest] = depth
	p.plan.nodes = append(p.plan.nodes, node{desc: ocispec.Descriptor{MediaType: m.MediaType, Digest: desc.Digest, Size: desc.Size}, manifest: m, depth: depth})
}

// read reads and parses one manifest; its bytes are what the digest says.
func (p *planner) read(ctx context.Context, desc ocispec.Descriptor) (*oci.Manifest, error) {
	body, err := attest.Read(ctx, p.source, desc, oci.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	return oci.ParseManifest(desc.MediaType, body)
}

// findPlatforms collects the images of an index that need evidence of their own. What is
// exempt is so by content: manifests that hold in-toto statements and nothing else.
func (p *planner) findPlatforms(ctx context.Context, desc ocispec.Descriptor, level int) error {
	if !oci.IsIndex(desc.MediaType) || level > oci.MaxIndexDepth {
		return nil
	}
	m := p.node(desc.Digest)
	for _, child := range m.manifest.Children {
		// An index may name one manifest a thousand times, and so may the indexes in it.
		if p.looked[child.Digest] {
			continue
		}
		p.looked[child.Digest] = true
		if oci.IsIndex(child.MediaType) {
			if err := p.findPlatforms(ctx, child, level+1); err != nil {
				return err
			}
			continue
		}
		found, only, err := attest.FindUnsigned(ctx, p.source, child, attest.Limits{})
		if err != nil {
			return err
		}
		for _, attachment := range found {
			p.plan.evidence = append(p.plan.evidence, attest.Verify(attachment, child.Digest, nil, p.engine.registry.Now()))
		}
		if !only {
			p.plan.platforms = append(p.plan.platforms, policy.Platform{Digest: child.Digest, Name: platformName(child)})
		}
	}
	return nil
}

func (p *planner) node(d digest.Digest) node {
	for _, n := range p.plan.nodes {
		if n.desc.Digest == d {
			return n
		}
	}
	return node{manifest: &oci.Manifest{}}
}

func platformName(desc ocispec.Descriptor) string {
	if desc.Platform == nil {
		return "unknown"
	}
	parts := []string{desc.Platform.OS, desc.Platform.Architecture}
	if desc.Platform.Variant != "" {
		parts = append(parts, desc.Platform.Variant)
	}
	return strings.Join(parts, "/")
}

// findEvidence reads and verifies what is attached to subject. What it relies on is read
// first: evidence that goes while it is being read is noticed at the commit.
func (p *planner) findEvidence(ctx context.Context, subject digest.Digest) error {
	generation, err := p.source.SubjectGeneration(ctx, subject)
	if err != nil {
		return err
	}
	p.rely(generation)
	for _, suffix := range cosignSuffixes {
		if _, _, err := p.cosign(ctx, subject, suffix); err != nil {
			return err
		}
	}
	evidence, err := p.engine.evidence(ctx, p.source, subject, authorities(p.policy))
	if err != nil {
		return err
	}
	for _, ev := range evidence {
		if ev.Verified() {
			p.verified[ev.Manifest] = true
		}
	}
	p.plan.evidence = append(p.plan.evidence, evidence...)
	return nil
}

// rely has the commit compare a record, as it was when it was first read.
func (p *planner) rely(record tiers.Record) {
	if !p.relied[record.Key] {
		p.relied[record.Key] = true
		p.plan.relied = append(p.plan.relied, record)
	}
}

// cosign finds what one of cosign's tags points at, and relies on that; an empty tag where
// there is none.
func (p *planner) cosign(ctx context.Context, subject digest.Digest, suffix string) (tag string, desc ocispec.Descriptor, err error) {
	tag = strings.Replace(subject.String(), ":", "-", 1) + suffix
	if _, err = p.source.Resolve(ctx, tag); err == nil {
		var basis tiers.Basis
		if basis, err = p.source.Basis(ctx, tag); err == nil {
			p.rely(basis.Tag)
			return tag, basis.Root, nil
		}
	}
	if errors.Is(err, oci.ErrManifestUnknown) {
		err = nil
	}
	return "", desc, err
}

func authorities(pol *policy.Policy) []attest.Authority {
	if pol == nil {
		return nil
	}
	return pol.Authorities()
}

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
	for _, suffix := range cosignSuffixes {
		tag, desc, err := p.cosign(ctx, subject.Digest, suffix)
		if err != nil {
			return err
		}
		if tag == "" {
			continue
		}
		if err := p.attached(ctx, subject, desc, tag, level); err != nil {
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
	m, err = p.read(ctx, desc)
	if errors.Is(err, oci.ErrUnavailable) || ctx.Err() != nil {
		return "", nil, err
	}
	if err != nil {
		return fmt.Sprintf("cannot be read: %v", err), nil, nil
	}
	listing := len(m.ArtifactType) + len(encode(m.Annotations))
	switch {
	case runnable(m):
		return "a runnable image does not rise as a referrer", nil, nil
	case listing > maxListing:
		return fmt.Sprintf("its type and annotations have %d bytes, at most %d rise", listing, maxListing), nil, nil
	case p.policy != nil && !p.policy.Carry().Admits(m.ArtifactType, p.verified[desc.Digest]):
		return fmt.Sprintf("the policy carries %s only", p.policy.Carry()), nil, nil
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

// runnable says whether a container runtime would run the manifest as an image: it has an
// image configuration and a layer that is more than an attestation or signature. It goes
// by what is in the manifest, whatever artifact type that claims.
func runnable(m *oci.Manifest) bool {
	if oci.IsIndex(m.MediaType) {
		return true
	}
	if m.Config == nil || m.Config.MediaType != ocispec.MediaTypeImageConfig && m.Config.MediaType != oci.MediaTypeDockerConfig {
		return false
	}
	for _, layer := range m.Layers {
		if !oci.IsAttestationLayer(layer.MediaType) {
			return true
		}
	}
	return len(m.Layers) == 0
}
