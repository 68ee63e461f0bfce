package tiers

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of one transaction of an arrival. The one that settles it needs a condition and a
// write for all that it wrote, and a few more.
const (
	opsPerStage   = 100
	bytesPerStage = 256 << 10 // of types and annotations; one manifest may have more
	blobsPerStage = 40        // of a manifest that does not fit one: up to two writes each
)

// stagedRecord is the journal of one batch: what it wrote of a manifest, and of others.
type stagedRecord struct {
	Manifest digest.Digest   `json:"manifest"`
	Links    []digest.Digest `json:"links,omitempty"`
	Refs     []digest.Digest `json:"refs,omitempty"`
	Wide     bool            `json:"wide,omitempty"` // others have more of the manifest
	More     []stagedRecord  `json:"more,omitempty"`
}

// all lists the record by its manifests.
func (s stagedRecord) all() []stagedRecord {
	first := s
	first.More = nil
	return append([]stagedRecord{first}, s.More...)
}

// tellsOf says whether the batch wrote anything of a manifest.
func (s stagedRecord) tellsOf(d digest.Digest) bool {
	return slices.ContainsFunc(s.all(), func(entry stagedRecord) bool { return entry.Manifest == d })
}

// Stage stages manifests, hidden, as many in one transaction as fit. What the repository
// shows already is left as it is.
func (a *Arrival) Stage(ctx context.Context, manifests ...Arriving) error {
	for len(manifests) > 0 {
		n := batchOf(manifests)
		err := retryBehind(ctx, a.fence, func() error {
			if n == 1 && manifests[0].ops() > opsPerStage {
				return a.stageWide(ctx, manifests[0])
			}
			return a.stageBatch(ctx, manifests[:n])
		})
		if err != nil {
			return fmt.Errorf("stage %s@%s: %w", a.repo.FullName(), manifests[0].Descriptor.Digest, err)
		}
		manifests = manifests[n:]
	}
	return nil
}

// ops is how many writes, or conditions, it takes to stage a manifest.
func (m Arriving) ops() int { return 2*len(m.Manifest.Blobs()) + len(m.children()) + 3 }

// children are those of the manifest, each once.
func (m Arriving) children() []ocispec.Descriptor {
	seen := map[digest.Digest]bool{}
	return slices.DeleteFunc(slices.Clone(m.Manifest.Children), func(c ocispec.Descriptor) bool {
		again := seen[c.Digest]
		seen[c.Digest] = true
		return again
	})
}

// bytes is about how much the records of a manifest hold besides names.
func (m Arriving) bytes() int {
	n := 2*len(m.Manifest.ArtifactType) + 2*len(m.Descriptor.MediaType)
	for key, value := range m.Manifest.Annotations {
		n += len(key) + len(value)
	}
	return n
}

// batchOf is how many of the first manifests go into one transaction; at least one.
func batchOf(manifests []Arriving) int {
	ops, bytes := 0, 0
	for i, m := range manifests {
		ops, bytes = ops+m.ops(), bytes+m.bytes()
		if i > 0 && (ops > opsPerStage || bytes > bytesPerStage) {
			return i
		}
	}
	return len(manifests)
}

// portion is what one transaction writes of a manifest.
type portion struct {
	Arriving
	blobs, children []ocispec.Descriptor
	// first says that it makes the records of the manifest itself, wide that others follow
	// or went before.
	first, wide bool
}

func (a *Arrival) stageBatch(ctx context.Context, manifests []Arriving) error {
	portions := make([]portion, len(manifests))
	for i, m := range manifests {
		portions[i] = portion{Arriving: m, blobs: m.Manifest.Blobs(), children: m.children(), first: true}
	}
	s, err := a.staging(ctx, portions...)
	if err != nil {
		return err
	}
	return s.commit(ctx)
}

// stageWide stages a manifest that refers to too much for one transaction, in several. The
// first makes its record with the mark of the arrival. Whoever takes references away takes
// the record or the mark first, so that the others notice, and all begins anew.
func (a *Arrival) stageWide(ctx context.Context, m Arriving) error {
	var portions []portion
	for blobs := range slices.Chunk(m.Manifest.Blobs(), blobsPerStage) {
		portions = append(portions, portion{Arriving: m, blobs: blobs, wide: true})
	}
	for children := range slices.Chunk(m.children(), blobsPerStage) {
		portions = append(portions, portion{Arriving: m, children: children, wide: true})
	}
	portions[0].first = true
	for _, p := range portions {
		s, err := a.staging(ctx, p)
		if err != nil {
			return err
		}
		if err := s.commit(ctx); err != nil {
			return err
		}
	}
	return nil
}

// staging is one transaction of an arrival while it is made.
type staging struct {
	arrival *Arrival
	records map[string]Record // all that it looks at, as read
	known   map[string]bool   // keys that it writes or compares already
	change  Change
	entries []stagedRecord
}

// staging makes the transaction for some portions: it reads all that they look at, and adds
// them.
func (a *Arrival) staging(ctx context.Context, portions ...portion) (*staging, error) {
	t, name := a.repo.Tier, a.repo.Name
	var keys []string
	for _, p := range portions {
		keys = append(keys, manifestKey(t.Name, name, p.Descriptor.Digest))
		for _, b := range p.blobs {
			keys = append(keys, linkKey(t.Name, name, b.Digest))
		}
		if s := p.Manifest.Subject; s != nil {
			keys = append(keys, referrerPrefix(t.Name, name, s.Digest)+p.Descriptor.Digest.String())
		}
	}
	records, err := a.repo.registry.read(ctx, keys)
	if err != nil {
		return nil, err
	}
	s := &staging{arrival: a, records: records, known: map[string]bool{}}
	for _, p := range portions {
		if err := s.add(p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// read reads records, each once, by their keys.
func (r *Registry) read(ctx context.Context, keys []string) (map[string]Record, error) {
	slices.Sort(keys)
	list, err := r.catalog.Get(ctx, slices.Compact(keys)...)
	records := make(map[string]Record, len(list))
	for _, record := range list {
		records[record.Key] = record
	}
	return records, err
}

// add adds the references of a manifest to blobs and children, and its own records with the
// first of them.
func (s *staging) add(p portion) error {
	t, name, d := s.arrival.repo.Tier, s.arrival.repo.Name, p.Descriptor.Digest
	key := manifestKey(t.Name, name, d)
	pending, err := s.pending(key)
	if err != nil || s.shows(key, pending) || s.known[key] {
		return err
	}
	if !p.first && !slices.Contains(pending, s.arrival.ID) {
		return &ConflictError{Keys: []string{key}} // it went meanwhile, and what was staged of it
	}
	entry := stagedRecord{Manifest: d, Wide: p.wide}
	for _, desc := range slices.Concat(p.children, p.blobs) {
		ref := refKey(t.store, desc.Digest, t.Name, name, d)
		if s.known[ref] {
			continue
		}
		s.known[ref] = true
		s.require(Present(blobKey(t.store, desc.Digest)))
		s.change.Put = append(s.change.Put, Put{Key: ref})
		entry.Refs = append(entry.Refs, desc.Digest)
	}
	for _, b := range p.blobs {
		entry.Links = append(entry.Links, b.Digest)
		if err := s.link(b); err != nil {
			return err
		}
	}
	s.entries = append(s.entries, entry)
	if !p.first {
		s.require(Unchanged(s.records[key]))
		return nil
	}
	return s.manifest(p.Arriving, pending)
}

// require adds a condition, once.
func (s *staging) require(c Condition) {
	if !s.known[c.Key] {
		s.known[c.Key] = true
		s.change.If = append(s.change.If, c)
	}
}

// pending lists the arrivals that have staged a record; none where it is not there or seen.
func (s *staging) pending(key string) ([]string, error) {
	record := s.records[key]
	if record.Revision == 0 {
		return nil, nil
	}
	v, err := Decode[struct {
		Pending []string `json:"pending"`
	}](record)
	return v.Pending, err
}

// shows says whether the repository shows a record already.
func (s *staging) shows(key string, pending []string) bool {
	return s.records[key].Revision != 0 && len(pending) == 0
}

// link lets the repository read a blob, once the arrival is committed.
func (s *staging) link(b ocispec.Descriptor) error {
	key := linkKey(s.arrival.repo.Tier.Name, s.arrival.repo.Name, b.Digest)
	pending, err := s.pending(key)
	if err != nil || s.known[key] {
		return err
	}
	if s.shows(key, pending) || slices.Contains(pending, s.arrival.ID) {
		// Seen already, or marked by a batch before: nobody else takes that mark away. To
		// write it again would conflict with all that others bring.
		s.require(Present(key))
		return nil
	}
	s.require(Unchanged(s.records[key]))
	s.change.Put = append(s.change.Put, Put{Key: key, Value: Encode(LinkRecord{Size: b.Size, Pending: withID(pending, s.arrival.ID)})})
	return nil
}

// manifest adds the records of a manifest itself.
func (s *staging) manifest(m Arriving, pending []string) error {
	a := s.arrival
	t, name, d := a.repo.Tier, a.repo.Name, m.Descriptor.Digest
	key := manifestKey(t.Name, name, d)
	if m.At.IsZero() {
		m.At = a.repo.registry.Now()
	}
	value := ManifestRecord{MediaType: m.Descriptor.MediaType, Size: m.Descriptor.Size, ArtifactType: m.Manifest.ArtifactType,
		Depth: m.Depth, CreatedAt: m.At, By: a.repo.Actor, Pending: withID(pending, a.ID)}
	s.require(Unchanged(s.records[key]))
	s.require(Present(blobKey(t.store, d)))
	if subject := m.Manifest.Subject; subject != nil {
		value.Subject = subject.Digest
		referrer := referrerPrefix(t.Name, name, subject.Digest) + d.String()
		marks, err := s.pending(referrer)
		if err != nil {
			return err
		}
		shown := newReferrer(m.Descriptor, m.Manifest)
		shown.Pending = withID(marks, a.ID)
		s.require(Unchanged(s.records[referrer]))
		s.change.Put = append(s.change.Put, Put{Key: referrer, Value: Encode(shown)})
	}
	s.change.Put = append(s.change.Put, Put{Key: key, Value: Encode(value)}, Put{Key: selfKey(t.store, d, t.Name, name)})
	return nil
}

// commit writes what was added, with its journal.
func (s *staging) commit(ctx context.Context) error {
	if len(s.entries) == 0 {
		return nil
	}
	journal := s.entries[0]
	journal.More = s.entries[1:]
	registry := s.arrival.repo.registry
	s.change.Put = append(s.change.Put, Put{Key: stagedPrefix(s.arrival.ID) + registry.NewID(), Value: Encode(journal)})
	s.change.If = append(s.change.If, s.arrival.fence...)
	_, err := registry.catalog.Commit(ctx, s.change)
	return err
}
