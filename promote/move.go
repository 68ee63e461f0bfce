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
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// copies is how many contents of one promotion are brought at once.
const copies = 4

// move is one attempt to carry out a promotion that the policy allowed.
type move struct {
	engine  *Engine
	o       *opened
	request Request
	source  *tiers.Repository
	target  *tiers.Repository
	policy  *inForce
	plan    *plan
	verdict policy.Verdict // whole; the journal may have less

	// fence holds while the journal is this attempt's. Everything that is pinned and staged
	// compares it: a former owner that comes back leaves nothing behind.
	fence   tiers.Condition
	arrival *tiers.Arrival
	record  Record // all that moved, for the event
	object  string // where the record is kept
	digest  digest.Digest

	seen seen // before the plan was made
}

// bring copies what is missing above, hidden, and the summary with it.
func (m *move) bring(ctx context.Context) error {
	if err := m.cosignTags(ctx); err != nil {
		return err
	}
	fresh, err := m.fresh(ctx)
	if err != nil {
		return err
	}
	if err := m.transfer(ctx, fresh); err != nil {
		return err
	}
	summary, err := m.summarize(ctx)
	if err != nil {
		return err
	}
	return m.stage(ctx, append(fresh, summary))
}

// transfer opens the arrival and copies the contents of nodes.
func (m *move) transfer(ctx context.Context, nodes []node) error {
	r := m.engine.registry
	m.fence = tiers.Unchanged(m.o.record)
	m.arrival = m.target.Arrival(m.o.arrival(), m.fence)
	m.record = Record{Promotion: m.o.ID, Contents: []RecordContent{}, Manifests: []RecordManifest{}, Tags: []RecordTag{}}
	digests := m.plan.digests(nodes)
	if err := r.Pin(ctx, m.source.Tier, digests, m.arrival.ID, true, m.fence); errors.Is(err, oci.ErrConflict) {
		return fmt.Errorf("%w: %w", errBasis, err)
	} else if err != nil {
		return err
	}
	if err := r.Pin(ctx, m.target.Tier, digests, m.arrival.ID, false, m.fence); err != nil {
		return err
	}
	return m.copy(ctx, digests)
}

// stage stages the manifests. What they say is read again, some ahead: there may be very
// many of them.
func (m *move) stage(ctx context.Context, nodes []node) error {
	for chunk := range slices.Chunk(nodes, aheadChunk) {
		descs := make([]ocispec.Descriptor, 0, len(chunk))
		for _, n := range chunk {
			if n.own == nil {
				descs = append(descs, n.desc)
			}
		}
		if err := m.plan.source.ahead(ctx, descs); err != nil {
			return err
		}
		arriving := make([]tiers.Arriving, 0, len(chunk))
		for _, n := range chunk {
			manifest, err := n.own, error(nil)
			if manifest == nil {
				manifest, err = readManifest(ctx, m.plan.source, n.desc)
			}
			if errors.Is(err, oci.ErrManifestUnknown) { // a referrer that was deleted meanwhile
				err = fmt.Errorf("%w: %w", errBasis, err)
			}
			if err != nil {
				return err
			}
			at := m.engine.registry.Now()
			m.count(n, manifest, at)
			arriving = append(arriving, tiers.Arriving{Descriptor: n.desc, Manifest: manifest, Depth: n.depth, At: at})
		}
		if err := m.arrival.Stage(ctx, arriving...); err != nil {
			return err
		}
	}
	return nil
}

// fresh lists the nodes that the tier above does not show yet.
func (m *move) fresh(ctx context.Context) ([]node, error) {
	digests := make([]digest.Digest, len(m.plan.nodes))
	for i, n := range m.plan.nodes {
		digests[i] = n.desc.Digest
	}
	missing, err := m.target.Missing(ctx, digests)
	if err != nil {
		return nil, err
	}
	fresh := make([]node, 0, len(missing))
	for _, n := range m.plan.nodes {
		if len(missing) > 0 && n.desc.Digest == missing[0] { // in the order of the nodes
			fresh, missing = append(fresh, n), missing[1:]
		}
	}
	return fresh, nil
}

// copy brings the contents, some at once.
func (m *move) copy(ctx context.Context, digests []digest.Digest) error {
	manifests := map[digest.Digest]bool{}
	for _, n := range m.plan.nodes {
		manifests[n.desc.Digest] = true
	}
	way := tiers.Bringing{From: m.source.Tier, To: m.target.Tier, Purpose: "promotion " + m.o.ID, Actor: m.o.RequestedBy,
		AtOnce: copies, Fence: []tiers.Condition{m.fence}}
	return m.engine.registry.BringAll(ctx, way, digests, func(d digest.Digest, brought tiers.Brought) {
		m.tally(brought, manifests[d])
		m.record.Contents = append(m.record.Contents, RecordContent{Digest: d, Key: brought.Key, Size: brought.Size})
	})
}

func (m *move) tally(b tiers.Brought, manifest bool) {
	moved := &m.o.Moved
	moved.Bytes += b.Size
	if !manifest {
		moved.Blobs++
	}
	switch b.How {
	case tiers.Linked:
		moved.Linked++
	case tiers.Copied:
		moved.Copied++
	case tiers.Streamed:
		moved.Streamed++
	}
}

// commit makes everything visible and ends in state: Failed where only evidence rises.
func (m *move) commit(ctx context.Context, state State) (err error) {
	for range maxLooks {
		if err = m.tryCommit(ctx, state); err == nil {
			return nil
		}
		again, failure := m.onlyOthers(ctx, err)
		if !again {
			return errors.Join(err, failure)
		}
	}
	return err
}

// tryCommit is one transaction that compares all that the decision rested on. A conflict
// says what changed, and with it what follows.
func (m *move) tryCommit(ctx context.Context, state State) error {
	change, err := m.change(ctx)
	if err != nil {
		return err
	}
	if err := m.settle(ctx, &change); err != nil {
		return err
	}
	if state == Succeeded {
		if err := m.stillAllowed(ctx); err != nil {
			return err
		}
	}
	event := tiers.Event{Type: tiers.EventRefused}
	if state == Succeeded {
		event.Type = tiers.EventPromoted
		m.o.Summary = m.summaryDigest()
		if m.o.WaitUntil != nil {
			change.Put = append(change.Put, m.keyed())
		}
	}
	event.Store, event.MediaType, event.Key, event.Document = m.target.Tier.Store(), m.plan.basis.Root.MediaType, m.object, m.digest
	err = m.engine.end(ctx, m.o, state, event, change)
	if err == nil {
		return nil
	}
	m.o.Summary = ""
	var conflict *tiers.ConflictError
	if !errors.As(err, &conflict) {
		return err
	}
	switch {
	case conflict.Has(m.o.record.Key):
		return err
	case m.plan.basis.Tag.Key != "" && conflict.Has(m.plan.basis.Tag.Key):
		return fmt.Errorf("%w: tag %s was moved while the promotion was under way", oci.ErrConflict, m.o.Reference)
	default:
		return fmt.Errorf("%w: %w", errBasis, err)
	}
}

// moment is how long after it was decided a promotion may become visible without being
// looked at again. What it takes to bring something small is less.
const moment = time.Second

// stillAllowed decides again, at the time of the commit and with the evidence that has come
// since, what took a while to bring: a freeze may have begun, an exception or a key run out,
// or a test may have failed. Where the policy says no now, nothing becomes visible, and the
// next attempt says so. What comes while this is decided is as if it came behind the commit;
// that nothing goes the commit compares.
func (m *move) stillAllowed(ctx context.Context) error {
	e, now := m.engine, m.engine.registry.Now()
	if now.Sub(m.plan.at) < moment {
		return nil
	}
	late, err := m.latePlan(ctx, now)
	if err != nil {
		return err
	}
	verdict, err := e.decide(ctx, m.request, late, m.policy)
	if err != nil {
		return err
	}
	if !verdict.Allowed {
		return fmt.Errorf("%w: the policy allowed it at %s and no longer does: %s", errBasis,
			m.o.Verdict.EvaluatedAt.Format(time.RFC3339), strings.Join(refusedBy(verdict), ", "))
	}
	return nil
}

// latePlan is the plan with the evidence as it counts now: looked for again where anything
// has changed in the repository.
func (m *move) latePlan(ctx context.Context, now time.Time) (*plan, error) {
	e, late := m.engine, *m.plan
	generation, err := m.source.Generation(ctx)
	if err != nil {
		return nil, err
	}
	if generation.Revision != m.plan.basis.Generation.Revision {
		from := e.reader(m.source)
		p := e.planner(from, m.plan.basis, m.policy)
		p.plan.quarantined = m.plan.quarantined // as the commit compares it
		for chunk := range slices.Chunk(subjectsOf(m.plan.basis.Root, m.plan.platforms), aheadChunk) {
			if err := p.findAll(ctx, chunk); err != nil {
				return nil, err
			}
		}
		late.attached = p.plan.attached
	}
	late.evidence = late.evidenceAt(e.verify(m.policy.revoked), m.policy.Authorities(), now)
	return &late, nil
}

// change is the transaction of the commit, but for the journal and the event.
func (m *move) change(ctx context.Context) (tiers.Change, error) {
	var change tiers.Change
	change.If = slices.Concat(unchanged(m.policy.records), m.plan.relied(), []tiers.Condition{m.source.HasManifest(m.o.Digest), m.plan.quarantined.Unchanged()})
	if m.o.Follows {
		change.If = append(change.If, m.target.HasManifest(m.o.Digest))
	}
	if m.plan.basis.Tag.Key != "" {
		change.If = append(change.If, tiers.Unchanged(m.plan.basis.Tag))
	}
	if err := m.tags(ctx, &change); err != nil {
		return change, err
	}
	m.arrival.Change(&change)
	keep, err := m.keepRecord(ctx)
	if err != nil {
		return change, err
	}
	change.Put = append(change.Put, keep)
	return change, nil
}

// tags sets the tags that were asked for, and cosign's tags of what rises.
func (m *move) tags(ctx context.Context, change *tiers.Change) error {
	m.record.Tags = []RecordTag{}
	for _, tag := range m.request.Tags {
		desc := m.plan.basis.Root
		previous, err := m.setTag(ctx, change, tag, desc)
		if err != nil {
			return err
		}
		if previous != "" && previous != desc.Digest {
			if err := m.request.mayLeave(m.target, tag, previous); err != nil {
				return err
			}
		}
	}
	for _, t := range m.plan.tags {
		previous, err := m.setTag(ctx, change, t.tag, t.desc)
		if err != nil {
			return err
		}
		if previous != t.replaces && previous != t.desc.Digest { // it may move from there no more
			return fmt.Errorf("%w: tag %s was moved above", errBasis, t.tag)
		}
	}
	return nil
}

func (m *move) setTag(ctx context.Context, change *tiers.Change, tag string, desc ocispec.Descriptor) (previous digest.Digest, err error) {
	at := m.engine.registry.Now()
	if previous, err = m.arrival.SetTag(ctx, change, tag, desc, at); err == nil {
		m.record.Tags = append(m.record.Tags, RecordTag{Tag: tag, Digest: desc.Digest, SetAt: at})
	}
	return previous, err
}
