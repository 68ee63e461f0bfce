package tiers

import (
	"encoding/json"
	"fmt"
	"time"

	strictjson "github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// blobRecord says where the bytes of a digest lie in a store. Manifests have one too.
type blobRecord struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	// RenewedAt is when somebody was last told that the bytes are here; they are kept
	// for a day from then, referred to or not.
	RenewedAt time.Time `json:"renewedAt"`
	// Origin is the repository, with its tier, that stored the bytes first: where a mount
	// without a source looks first. Empty for manifests.
	Origin string `json:"origin,omitempty"`
}

// ManifestRecord is a manifest in a repository of a tier.
type ManifestRecord struct {
	MediaType    string        `json:"mediaType"`
	Size         int64         `json:"size"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Subject      digest.Digest `json:"subject,omitempty"`
	Depth        int           `json:"depth,omitempty"` // levels of indexes below and with it
	CreatedAt    time.Time     `json:"createdAt"`
	By           string        `json:"by"`
	// RenewedAt is when a client last pushed it again, an hour or more after it last did.
	RenewedAt time.Time `json:"renewedAt,omitzero"`
	// Pending are the promotions that brought it; it is visible once one of them has
	// committed. Empty: visible.
	Pending []string `json:"pending,omitempty"`
}

// TagRecord is what a tag points at; media type and size spare readers a second look.
type TagRecord struct {
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Size      int64         `json:"size"`
	UpdatedAt time.Time     `json:"updatedAt"`
	By        string        `json:"by"`
}

// taggedRecord is what is known of a tag beyond where it points.
type taggedRecord struct {
	// RenewedAt is when a client last pushed the same under the tag again, as of a manifest.
	RenewedAt time.Time `json:"renewedAt,omitzero"`
}

// orphanedRecord is left by a manifest that retention took until all that hung on it has
// gone too: a crash in between leaves nothing behind.
type orphanedRecord struct {
	Cause    string          `json:"cause"` // why the manifest went
	Children []digest.Digest `json:"children,omitempty"`
}

// ReferrerRecord is a manifest that names another as its subject, as the referrers API
// reports it.
type ReferrerRecord struct {
	MediaType    string            `json:"mediaType"`
	Size         int64             `json:"size"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"`
	// Large says that the annotations are too large for a record of the catalog: they are
	// read from the manifest.
	Large   bool     `json:"large,omitempty"`
	Pending []string `json:"pending,omitempty"`
}

// LinkRecord lets a repository read a blob of its store.
type LinkRecord struct {
	Size int64 `json:"size"`
	// RenewedAt is when a client was last told that the repository has the blob. Zero, where
	// a promotion brought it or nobody wrote that down: as that of its bytes.
	RenewedAt time.Time `json:"renewedAt,omitzero"`
	Pending   []string  `json:"pending,omitempty"`
}

func (m ManifestRecord) marks() []string { return m.Pending }
func (r ReferrerRecord) marks() []string { return r.Pending }
func (l LinkRecord) marks() []string     { return l.Pending }

// intentRecord announces an object, so that nothing in a bucket is ever unaccounted for.
type intentRecord struct {
	For       string    `json:"for"` // manifest, summary, copy, record
	By        string    `json:"by"`
	StartedAt time.Time `json:"startedAt"`
}

// pushingRecord marks a manifest whose references are being written. Without a time it is
// older than any.
type pushingRecord struct {
	StartedAt time.Time `json:"startedAt,omitzero"`
}

// condemnedRecord is an object that nothing names any more, and that is deleted once those
// who may still read it have had their time. Its key is that of the object.
type condemnedRecord struct {
	Digest digest.Digest `json:"digest,omitempty"` // where it is known
	Size   int64         `json:"size,omitempty"`
	At     time.Time     `json:"at"`
	Why    string        `json:"why"`
}

// repositoryRecord marks a repository that has held a manifest.
type repositoryRecord struct{}

// Encode renders a record of the catalog. All of them are plain data, so it cannot fail.
func Encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		// A record type that does not marshal is a bug that no input can trigger; an
		// empty value would be read as corrupt, never as a wrong fact.
		return nil
	}
	return data
}

// Decode reads a record that Encode rendered. The error wraps oci.ErrCorrupt.
func Decode[T any](r Record) (T, error) {
	var v T
	// As strict as records are written, and three times as fast as encoding/json: every
	// read of the registry decodes one.
	if err := strictjson.Unmarshal(r.Value, &v); err != nil {
		return v, fmt.Errorf("catalog record %s: %w: %w", r.Key, oci.ErrCorrupt, err)
	}
	return v, nil
}

func (m ManifestRecord) descriptor(d digest.Digest) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: d, Size: m.Size, ArtifactType: m.ArtifactType}
}
