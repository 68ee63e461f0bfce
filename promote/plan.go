package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Bounds of one promotion.
const (
	maxManifests     = 50_000    // manifests in a closure; referrers beyond stay behind
	maxReferences    = 1_000_000 // to blobs and manifests, of all manifests of a closure together
	maxEvidence      = 512 << 20 // bytes of attestations of all subjects together; what is over counts as not read
	maxReferrerDepth = 8         // referrers of referrers
	maxCosignTags    = 20        // that rise with one promotion; its transaction has no room for more
	maxListing       = 1 << 20   // bytes of a referrer's type and annotations, which the catalog keeps
	maxLeft          = 100       // referrers that stay behind and are listed one by one
	referrerPage     = 1000
)

// node is a manifest of the closure, without what it says: that is read again when it is
// staged. A closure may have very many of them, each of up to 4 MiB.
type node struct {
	desc    ocispec.Descriptor // media type, digest and size
	blobs   []digest.Digest    // that it needs
	subject digest.Digest      // empty where it names none
	depth   int                // as the catalog counts: levels of indexes
	own     *oci.Manifest      // of the registry's own summary, which is not in the tier below
}

func newNode(desc ocispec.Descriptor, m *oci.Manifest, depth int) node {
	n := node{desc: ocispec.Descriptor{MediaType: m.MediaType, Digest: desc.Digest, Size: desc.Size}, depth: depth}
	for _, b := range m.Blobs() {
		n.blobs = append(n.blobs, b.Digest)
	}
	if m.Subject != nil {
		n.subject = m.Subject.Digest
	}
	return n
}

// cosignTag is one of cosign's tags, which rises with the manifest it points at.
type cosignTag struct {
	tag      string
	desc     ocispec.Descriptor
	replaces digest.Digest // what the tag names above; empty where there is none
}

// plan is the closure of an artifact in the tier it rises from, and what a decision about
// it rests on. Making one reads and changes nothing.
type plan struct {
	basis     tiers.Basis
	source    *reader
	nodes     []node // children before their index
	tags      []cosignTag
	left      []Left
	platforms []policy.Platform
	evidence  []attest.Evidence // what unsigned statements say, then what attached is worth
	unsigned  int               // how many of them unsigned statements made
	attached  []attached
	at        time.Time                      // before anything was verified
	signed    map[digest.Digest]bool         // referrers that hold attestations of authorities and nothing else
	standing  map[policy.Dependency][]string // of what builds used, where the policy asks
	// What changes when evidence goes: the generations of its subjects, and cosign's tags.
	generations, cosign []tiers.Record
	// quarantined is what was in quarantine before anything was looked at, and held what of it
	// the artifact is or holds; nil where that is nothing.
	quarantined *tiers.Quarantined
	held        *tiers.Quarantine
	revoked     *revocations // that were in force when the policy was read
	// tagsSeen is the generation of the repository when a commit saw them last.
	tagsSeen tiers.Record
	// references to blobs and manifests that all manifests have, and bytes that they and
	// their blobs have.
	references int
	bytes      int64
}

// attached is what was found attached to a manifest. It is kept because what it is worth
// hangs on the time: keys and certificates run out.
type attached struct {
	subject digest.Digest
	found   []attest.Attachment
	held    []string // why each does not count, being in quarantine; empty where it may
}

// evidenceAt is the evidence as it counts at another time than that of the plan.
func (p *plan) evidenceAt(verify verify, authorities []attest.Authority, now time.Time) []attest.Evidence {
	evidence := slices.Clone(p.evidence[:p.unsigned])
	for _, a := range p.attached {
		for i, attachment := range a.found {
			evidence = append(evidence, without(verify(attachment, a.subject, authorities, now), a.held[i]))
		}
	}
	return evidence
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
		for _, d := range n.blobs {
			add(d)
		}
		add(n.desc.Digest)
	}
	return all
}

// planner walks the closure.
type planner struct {
	engine *Engine
	source *reader
	policy *policy.Policy
	plan   *plan
	// follows says that nobody asked: nothing is carried but what authorities signed.
	follows bool
	seen    map[digest.Digest]int // depth of what was visited
	// verified are attestations that an authority signed, or a functionary of a layout;
	// signed those of an authority alone.
	verified, signed signedLayers
	rises            map[digest.Digest]bool // referrers that do
	relied           map[string]bool        // keys of the records that the plan relies on
	// json says of layers whether they are, and no archive, as far as it was asked;
	// jsonBytes is how much that nobody verified was read for it.
	json      map[digest.Digest]bool
	jsonBytes int64
	unlisted  int                    // referrers that stay behind and are not in plan.left
	content   int64                  // bytes of attestations
	sized     map[digest.Digest]bool // blobs that are in plan.bytes
	large     bool                   // it has taken its turn among the large ones
}

func (e *Engine) planner(source *reader, basis tiers.Basis, pol *inForce) *planner {
	return &planner{
		engine: e, source: source, policy: pol.Policy,
		plan: &plan{basis: basis, source: source, at: e.registry.Now(), signed: map[digest.Digest]bool{}, revoked: pol.revoked},
		seen: map[digest.Digest]int{}, rises: map[digest.Digest]bool{}, sized: map[digest.Digest]bool{}, json: map[digest.Digest]bool{},
		verified: signedLayers{}, signed: signedLayers{}, relied: map[string]bool{},
	}
}

// planFor makes the plan for what the request names now.
func (e *Engine) planFor(ctx context.Context, source *reader, r Request, pol *inForce) (*plan, error) {
	quarantined, err := e.registry.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	basis, err := source.Basis(ctx, r.Reference)
	if err != nil {
		return nil, err
	}
	p := e.planner(source, basis, pol)
	p.plan.quarantined = quarantined
	defer p.turnEnds()
	p.follows = r.follows
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
	var err error
	if !p.plan.quarantined.None() {
		if p.plan.held, err = p.plan.quarantined.Among(ctx, p.plan.digests(p.plan.nodes)...); err != nil {
			return err
		}
	}
	if p.plan.platforms, p.plan.evidence, err = platformsOf(ctx, p.source, desc, p.engine.registry.Now()); err != nil {
		return err
	}
	p.plan.unsigned = len(p.plan.evidence)
	for chunk := range slices.Chunk(subjectsOf(desc, p.plan.platforms), aheadChunk) {
		if err := p.findAll(ctx, chunk); err != nil {
			return err
		}
	}
	if p.plan.standing, err = p.engine.standing(ctx, p.policy, p.plan.evidence); err != nil {
		return err
	}
	// Backwards: where there is a limit, what belongs to the artifact itself comes first.
	var descs []ocispec.Descriptor
	for _, n := range slices.Backward(p.plan.nodes[:own]) {
		descs = append(descs, n.desc)
	}
	if err := p.allReferrers(ctx, descs, 1); err != nil {
		return err
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
	m, err := readManifest(ctx, p.source, desc)
	if err != nil {
		return 0, err
	}
	if oci.IsIndex(m.MediaType) {
		depth = 1
	}
	for chunk := range slices.Chunk(m.Children, aheadChunk) {
		if err := p.source.ahead(ctx, p.unseen(chunk)); err != nil {
			return 0, err
		}
		for _, child := range chunk {
			below, err := p.visit(ctx, child)
			if err != nil {
				return 0, err
			}
			depth = max(depth, below+1)
		}
	}
	if p.plan.references+references(m) > maxReferences {
		return 0, fmt.Errorf("%w: the manifests of the artifact refer to more than %d blobs and manifests", oci.ErrTooLarge, maxReferences)
	}
	return depth, p.add(ctx, desc, m, depth)
}

// unseen leaves out what was visited.
func (p *planner) unseen(descs []ocispec.Descriptor) []ocispec.Descriptor {
	return slices.DeleteFunc(slices.Clone(descs), func(d ocispec.Descriptor) bool {
		_, seen := p.seen[d.Digest]
		return seen
	})
}

// references is how many blobs and manifests a manifest refers to.
func references(m *oci.Manifest) int { return 1 + len(m.Layers) + len(m.Children) }

func (p *planner) add(ctx context.Context, desc ocispec.Descriptor, m *oci.Manifest, depth int) error {
	p.seen[desc.Digest] = depth
	p.plan.references += references(m)
	p.plan.bytes += desc.Size
	for _, b := range m.Blobs() {
		if !p.sized[b.Digest] {
			p.sized[b.Digest] = true
			p.plan.bytes += b.Size
		}
	}
	p.plan.nodes = append(p.plan.nodes, newNode(desc, m, depth))
	return p.takeTurn(ctx)
}

// findAll is findEvidence of some subjects, of which is found out ahead what hangs on them.
func (p *planner) findAll(ctx context.Context, subjects []digest.Digest) error {
	if err := p.source.look(ctx, subjects); err != nil {
		return err
	}
	for _, subject := range subjects {
		if err := p.findEvidence(ctx, subject); err != nil {
			return err
		}
	}
	return nil
}

// findEvidence reads and verifies what is attached to subject. What it relies on is read
// first: evidence that goes while it is being read is noticed at the commit.
func (p *planner) findEvidence(ctx context.Context, subject digest.Digest) error {
	if err := p.source.look(ctx, []digest.Digest{subject}); err != nil {
		return err
	}
	p.rely(&p.plan.generations, p.source.subjects[subject].generation)
	if _, err := p.cosign(ctx, subject); err != nil {
		return err
	}
	found, err := attest.Find(ctx, p.source, subject, attest.Limits{MaxTotalBytes: min(attest.DefaultLimits().MaxTotalBytes, max(maxEvidence-p.content, 1))})
	if err != nil {
		return err
	}
	held, err := uncounted(ctx, p.plan.quarantined, found)
	if err != nil {
		return err
	}
	p.plan.attached = append(p.plan.attached, attached{subject, found, held})
	verify := p.engine.verify(p.plan.revoked)
	for i, attachment := range found {
		p.content += int64(len(attachment.Content))
		ev := without(verify(attachment, subject, authorities(p.policy), p.engine.registry.Now()), held[i])
		p.plan.evidence = append(p.plan.evidence, ev)
		// A link that a functionary of a layout signed is evidence that the policy uses.
		if ev.Verified() || len(ev.Functionaries) > 0 {
			p.verified.add(ev)
		}
		if ev.Verified() {
			p.signed.add(ev)
		}
	}
	return nil
}

// rely has the commit compare a record, as it was when it was first read.
func (p *planner) rely(among *[]tiers.Record, record tiers.Record) {
	if !p.relied[record.Key] {
		p.relied[record.Key] = true
		*among = append(*among, record)
	}
}

// cosign finds those of cosign's tags that a subject has, and relies on where they point.
func (p *planner) cosign(ctx context.Context, subject digest.Digest) ([]cosignTag, error) {
	if p.source.untagged[oci.FallbackTag(subject)] {
		return nil, nil
	}
	names := make([]string, len(cosignSuffixes))
	for i, suffix := range cosignSuffixes {
		names[i] = strings.Replace(subject.String(), ":", "-", 1) + suffix
	}
	there, err := p.source.TagsThere(ctx, names...)
	if err != nil {
		return nil, err
	}
	var found []cosignTag
	for _, name := range there {
		basis, err := p.source.Basis(ctx, name)
		if errors.Is(err, oci.ErrManifestUnknown) {
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, err
		}
		p.rely(&p.plan.cosign, basis.Tag)
		found = append(found, cosignTag{tag: name, desc: basis.Root})
	}
	return found, nil
}

func authorities(pol *policy.Policy) []attest.Authority {
	if pol == nil {
		return nil
	}
	return pol.Authorities()
}
