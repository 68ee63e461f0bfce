package promote

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// Record is the document that the event of a promotion points to: all that it takes to
// make its changes again in an empty catalog.
type Record struct {
	Promotion string           `json:"promotion"`
	Contents  []RecordContent  `json:"contents"`
	Manifests []RecordManifest `json:"manifests"`
	Tags      []RecordTag      `json:"tags"`
}

// RecordContent says where the bytes of a digest lie in the store of the tier above.
type RecordContent struct {
	Digest digest.Digest `json:"digest"`
	Key    string        `json:"key"`
	Size   int64         `json:"size"`
}

// RecordManifest is a manifest that became visible.
type RecordManifest struct {
	Digest       digest.Digest `json:"digest"`
	MediaType    string        `json:"mediaType"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Size         int64         `json:"size"`
	Subject      digest.Digest `json:"subject,omitempty"`
	CreatedAt    time.Time     `json:"createdAt,omitzero"` // in the tier above
}

// RecordTag is a tag that was set.
type RecordTag struct {
	Tag    string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	SetAt  time.Time     `json:"setAt,omitzero"`
}

// count adds a manifest to what moved.
func (m *move) count(n node, manifest *oci.Manifest, at time.Time) {
	m.o.Moved.Manifests++
	m.record.Manifests = append(m.record.Manifests, RecordManifest{Digest: n.desc.Digest, MediaType: n.desc.MediaType,
		ArtifactType: manifest.ArtifactType, Size: n.desc.Size, Subject: n.subject, CreatedAt: at})
}

// keepRecord stores the record of all that moved and makes the write that keeps it.
func (m *move) keepRecord(ctx context.Context) (tiers.Put, error) {
	r, t := m.engine.registry, m.target.Tier
	body := tiers.Encode(m.record)
	m.digest = digest.FromBytes(body)
	if err := r.Pin(ctx, t, []digest.Digest{m.digest}, m.arrival.ID, false, m.fence); err != nil {
		return tiers.Put{}, err
	}
	key, err := r.Store(ctx, t, m.digest, body, m.fence)
	m.object = key
	return r.KeepRecord(t, m.digest, m.o.ID), err
}
