package tiers

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// checkNeeds looks for all that the manifest needs, and says how deep it is by the records
// of its children.
func (m *manifestCheck) checkNeeds(ctx context.Context) (depth int, err error) {
	if oci.IsIndex(m.parsed.MediaType) {
		depth = 1
	}
	t, name := m.tier, m.repo
	var needs []need
	asked := map[digest.Digest]bool{}
	for _, b := range m.parsed.Blobs() {
		asked[b.Digest] = true
		needs = append(needs, need{desc: b, keys: [3]string{linkKey(t.Name, name, b.Digest), blobKey(m.store.id, b.Digest), refKey(m.store.id, b.Digest, t.Name, name, m.digest)}})
	}
	for _, child := range m.parsed.Children {
		if !asked[child.Digest] {
			asked[child.Digest] = true
			needs = append(needs, need{desc: child, child: true, keys: [3]string{manifestKey(t.Name, name, child.Digest), blobKey(m.store.id, child.Digest), refKey(m.store.id, child.Digest, t.Name, name, m.digest)}})
		}
	}
	const group = (MaxOps - 1) / 3
	for len(needs) > 0 {
		n := min(group, len(needs))
		below, err := m.checkGroup(ctx, needs[:n])
		if err != nil {
			return 0, err
		}
		depth, needs = max(depth, below), needs[n:]
	}
	return depth, nil
}

// need is a blob or child of a manifest: what shows it in the repository, where its bytes
// are, and what keeps them for this manifest.
type need struct {
	desc  ocispec.Descriptor
	child bool
	keys  [3]string
}

func (m *manifestCheck) checkGroup(ctx context.Context, needs []need) (depth int, err error) {
	keys := []string{m.key()}
	for _, n := range needs {
		keys = append(keys, n.keys[:]...)
	}
	records, err := m.c.Get(ctx, keys...)
	if err != nil || records[0].Revision == 0 { // it was deleted meanwhile
		return 0, err
	}
	for i, n := range needs {
		at := records[1+3*i:][:3]
		if n.child {
			below, err := m.checkChild(ctx, n, records[0], at)
			if err != nil {
				return 0, err
			}
			if below < 0 {
				m.shallow = true
			}
			depth = max(depth, below+1)
		} else if err := m.checkBlob(ctx, n, records[0], at); err != nil {
			return 0, err
		}
		if at[2].Revision == 0 {
			f := m.finding("I3", KindReferenceMissing, Danger, at[2].Key)
			f.Message = fmt.Sprintf("nothing says that %s needs %s: the next collection may take its bytes", m.name(), n.desc.Digest)
			if err := m.restore(ctx, f, records[:1], Put{Key: at[2].Key}); err != nil {
				return 0, err
			}
		}
	}
	return depth, nil
}

func (m *manifestCheck) checkBlob(ctx context.Context, n need, manifest Record, at []Record) error {
	if at[1].Revision == 0 && !m.c.isLost(at[1].Key) {
		f := m.finding("I2", KindBlobMissing, Danger, at[1].Key)
		f.Digest, f.Remedy = n.desc.Digest, remedyLost(n.desc.Digest)
		f.Tier, f.Repository = "", "" // one for all who need it
		f.Message = fmt.Sprintf("%s needs the blob %s of %d bytes, which the store does not have", m.name(), n.desc.Digest, n.desc.Size)
		affected, err := m.c.affected(ctx, m.store, n.desc.Digest)
		if err != nil {
			return err
		}
		if len(affected) > 0 {
			f.Affected = affected
		}
		err = m.c.Found(ctx, f, func(ctx context.Context) error {
			return m.c.restore(ctx, m.store, f, at[1], m.c.others(m.store), nil)
		})
		if err != nil {
			return err
		}
	}
	if at[0].Revision != 0 {
		return nil // what it says is checked with the links
	}
	f := m.finding("I2", KindLinkMissing, Fault, at[0].Key)
	f.Digest = n.desc.Digest // one for all manifests there
	f.Message = fmt.Sprintf("%s needs the blob %s, which its repository may not read", m.name(), n.desc.Digest)
	f.Remedy = remedyWritten
	return m.c.Found(ctx, f, func(ctx context.Context) error { return m.mendLink(ctx, f, manifest, n.desc) })
}

// mendLink lets the repository read the blob again. A quota counts it, as it counts every
// other link.
func (m *manifestCheck) mendLink(ctx context.Context, f Finding, manifest Record, blob ocispec.Descriptor) error {
	r, err := m.c.registry.Repository(m.tier.Name, m.repo, m.c.options.Actor)
	if err != nil {
		return err
	}
	link := Encode(LinkRecord{Size: blob.Size})
	change := Change{If: []Condition{Unchanged(manifest), Absent(f.Key)},
		Put: []Put{{Key: f.Key, Value: link}, m.c.event(f, Event{Records: []EventRecord{{Key: f.Key, Value: link}}})}}
	_, err = r.commitUsage(ctx, change, blob.Size)
	return err
}

func (m *manifestCheck) checkChild(ctx context.Context, n need, manifest Record, at []Record) (depth int, err error) {
	if at[0].Revision == 0 {
		f := m.finding("I2", KindChildMissing, Danger, at[0].Key)
		f.Message = fmt.Sprintf("%s needs the manifest %s, which is not in its repository", m.name(), n.desc.Digest)
		f.Remedy = m.goes(fmt.Sprintf("push the manifest %s to %s/%s again", n.desc.Digest, m.tier.Name, m.repo))
		return -1, m.c.Found(ctx, f, nil)
	}
	child, err := Decode[ManifestRecord](at[0])
	if err != nil {
		return -1, nil // reported with the manifests
	}
	return child.Depth, nil
}
