package tiers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Model is a catalog in memory to which the events of a ledger are applied, in their order:
// what the catalog must be, and what a lost one is made of again. A record takes about
// 320 bytes.
//
// The times of promises are not in events. They are set to when the model was begun, so
// that whoever was told that bytes are here finds them for as long as he was promised.
type Model struct {
	records map[string][]byte
	entries map[string]int64 // the last that wrote or deleted a record of a tier, or another's
	entry   int64            // that is being applied
	at      time.Time
}

// Model begins the model of a registry that holds nothing.
func (r *Registry) Model() *Model {
	return &Model{records: map[string][]byte{}, entries: map[string]int64{}, at: r.Now()}
}

// replays says for each type of event what it makes of the model. Promotions and policies
// are their package's.
func replays() map[EventType]func(*Model, Event) error {
	return map[EventType]func(*Model, Event) error{
		EventBlobPushed:       (*Model).blobCame,
		EventBlobMounted:      (*Model).blobCame,
		EventBlobDeleted:      (*Model).blobDeleted,
		EventManifestPushed:   (*Model).manifestPushed,
		EventManifestDeleted:  (*Model).manifestDeleted,
		EventTagged:           (*Model).tagged,
		EventUntagged:         (*Model).untagged,
		EventRepaired:         (*Model).repaired,
		EventQuarantined:      (*Model).quarantine,
		EventQuarantineLifted: (*Model).quarantineLifted,
		EventWaiting:          nothing, // what has not ended does not come back
	}
}

func nothing(*Model, Event) error { return nil }

// Apply applies an event. One of a type that nobody has told of here is an error: what is
// made without it would lack something.
func (m *Model) Apply(e Event) error {
	apply, ok := replays()[e.Type]
	if !ok {
		return fmt.Errorf("event %s is of the type %q, which this version does not know: use the version that wrote it", e.ID, e.Type)
	}
	if err := apply(m, e); err != nil {
		return fmt.Errorf("event %s, %s: %w", e.ID, e.Type, err)
	}
	return nil
}

// At says that an entry of the ledger is applied from here on.
func (m *Model) At(entry int64) { m.entry = entry }

// Entry is the entry that last wrote or deleted a record; negative where none did.
func (m *Model) Entry(key string) int64 {
	if entry, ok := m.entries[key]; ok {
		return entry
	}
	return -1
}

// Put writes a record.
func (m *Model) Put(key string, value []byte) {
	m.records[key] = value
	m.touch(key)
}

// Delete takes a record away.
func (m *Model) Delete(key string) {
	delete(m.records, key)
	m.touch(key)
}

// touch notes the entry, but of records that there are very many of and nobody asks about.
func (m *Model) touch(key string) {
	if !strings.HasPrefix(key, "store/") {
		m.entries[key] = m.entry
	}
}

// Get reads a record; Revision is 0 where there is none.
func (m *Model) Get(key string) Record {
	value, ok := m.records[key]
	if !ok {
		return Record{Key: key}
	}
	return Record{Key: key, Value: value, Revision: 1}
}

// Keys lists the keys of all records, in their order.
func (m *Model) Keys() []string { return slices.Sorted(maps.Keys(m.records)) }

// Content says where the bytes of a digest lie. origin is as in blobRecord.
func (m *Model) Content(store string, d digest.Digest, object string, size int64, origin string) error {
	if object == "" {
		return nil
	}
	record := m.Get(blobKey(store, d))
	if record.Revision != 0 {
		if b, err := Decode[blobRecord](record); err != nil || b.Key == object {
			return err
		}
	}
	m.Put(record.Key, Encode(blobRecord{Key: object, Size: size, RenewedAt: m.at, Origin: origin}))
	return nil
}

// Link lets a repository read a blob.
func (m *Model) Link(tier, repo string, d digest.Digest, size int64) {
	if key := linkKey(tier, repo, d); m.Get(key).Revision == 0 {
		m.Put(key, Encode(LinkRecord{Size: size, RenewedAt: m.at}))
	}
}

// Manifest puts a manifest into a repository that does not have it yet.
func (m *Model) Manifest(tier, repo string, d digest.Digest, value ManifestRecord) {
	if key := manifestKey(tier, repo, d); m.Get(key).Revision == 0 {
		m.Put(key, Encode(value))
	}
	m.Put(repoKey(tier, repo), Encode(repositoryRecord{}))
}

// Tag points a tag at a manifest of the repository, as of a time. One that points there
// already stays as it is.
func (m *Model) Tag(tier, repo, tag string, d digest.Digest, at time.Time, by string) error {
	record := m.Get(tagKey(tier, repo, tag))
	if record.Revision != 0 {
		before, err := Decode[TagRecord](record)
		if err != nil || before.Digest == d {
			return err
		}
		m.Delete(taggedPrefix(tier, repo, before.Digest) + tag)
	}
	manifest := m.Get(manifestKey(tier, repo, d))
	if manifest.Revision == 0 {
		return fmt.Errorf("the tag %s of %s/%s is set to %s, which no event before has brought there", tag, tier, repo, d)
	}
	v, err := Decode[ManifestRecord](manifest)
	if err != nil {
		return err
	}
	m.Put(record.Key, Encode(TagRecord{Digest: d, MediaType: v.MediaType, Size: v.Size, UpdatedAt: at, By: by}))
	m.Put(taggedPrefix(tier, repo, d)+tag, nil)
	m.Put(repoKey(tier, repo), Encode(repositoryRecord{}))
	return nil
}

// Keep keeps the bytes of a document for the event that tells of it.
func (m *Model) Keep(store string, d digest.Digest, id string) {
	m.Put(refPrefix(store, d)+".record/"+id, nil)
}

func (m *Model) blobCame(e Event) error {
	origin := ""
	if e.Type == EventBlobPushed {
		origin = e.Tier + "/" + e.Repository
	}
	m.Link(e.Tier, e.Repository, e.Digest, e.Size)
	return m.Content(e.Store, e.Digest, e.Key, e.Size, origin)
}

func (m *Model) blobDeleted(e Event) error {
	m.Delete(linkKey(e.Tier, e.Repository, e.Digest))
	return nil
}

func (m *Model) manifestPushed(e Event) error {
	if err := m.Content(e.Store, e.Digest, e.Key, e.Size, ""); err != nil {
		return err
	}
	m.Manifest(e.Tier, e.Repository, e.Digest, ManifestRecord{MediaType: e.MediaType, Size: e.Size, ArtifactType: e.ArtifactType,
		Subject: e.Subject, CreatedAt: e.Time, By: e.Actor})
	if e.Tag == "" {
		return nil
	}
	return m.tagged(e)
}

func (m *Model) tagged(e Event) error {
	return m.Tag(e.Tier, e.Repository, e.Tag, e.Digest, e.Time, e.Actor)
}

func (m *Model) untagged(e Event) error {
	return m.untag(e.Tier, e.Repository, e.Tag)
}

func (m *Model) untag(tier, repo, tag string) error {
	record := m.Get(tagKey(tier, repo, tag))
	if record.Revision == 0 {
		return nil
	}
	v, err := Decode[TagRecord](record)
	if err != nil {
		return err
	}
	m.Delete(record.Key)
	m.Delete(taggedPrefix(tier, repo, v.Digest) + tag)
	return nil
}

func (m *Model) manifestDeleted(e Event) error {
	m.Delete(manifestKey(e.Tier, e.Repository, e.Digest))
	for _, tag := range e.Tags {
		if err := m.untag(e.Tier, e.Repository, tag); err != nil {
			return err
		}
	}
	if e.Subject != "" {
		m.Put(subjectKey(e.Tier, e.Repository, e.Subject), Encode(repositoryRecord{}))
	}
	return nil
}

// repaired applies what a check wrote. Events of older versions say only where bytes were
// put.
func (m *Model) repaired(e Event) error {
	for _, r := range e.Records {
		if r.Deleted {
			m.Delete(r.Key)
		} else {
			m.Put(r.Key, r.Value)
		}
	}
	if len(e.Records) > 0 {
		return nil
	}
	return m.Content(e.Store, e.Digest, e.Key, e.Size, "")
}

func (m *Model) quarantine(e Event) error { return m.quarantined(e.Digest, e.Body, 1) }

func (m *Model) quarantineLifted(e Event) error { return m.quarantined(e.Digest, nil, -1) }

// quarantined writes the record of a quarantine, or takes it away, and counts all of them.
func (m *Model) quarantined(d digest.Digest, value []byte, more int) error {
	if key := quarantineKey(d); value != nil {
		m.Put(key, value)
	} else {
		m.Delete(key)
	}
	var all quarantinedRecord
	if record := m.Get(quarantinedKey); record.Revision != 0 {
		var err error
		if all, err = Decode[quarantinedRecord](record); err != nil {
			return err
		}
	}
	all.Count += more
	m.Put(quarantinedKey, Encode(all))
	return nil
}
