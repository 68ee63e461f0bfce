package workload

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Sizes of layers, in bytes.
const (
	smallLayer = 12 << 10
	largeLayer = 7 << 20 // more than a part of a multipart upload takes at the least
	sharedPool = 24      // layers that many images have
)

// Blob is content of a client, made of a seed: it need not be kept.
type Blob struct {
	Digest digest.Digest
	Size   int64

	seed    uint64
	literal []byte // where it is not made of the seed
}

func newBlob(seed uint64, size int64) Blob {
	b := Blob{Size: size, seed: seed}
	b.Digest = digest.FromBytes(b.content())
	return b
}

func literalBlob(content []byte) Blob {
	return Blob{Digest: digest.FromBytes(content), Size: int64(len(content)), literal: content}
}

func (b Blob) content() []byte {
	if b.literal != nil {
		return b.literal
	}
	var key [32]byte
	for i := range 8 {
		key[i] = byte(b.seed >> (8 * i))
	}
	data := make([]byte, b.Size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

func (b Blob) descriptor(mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: b.Digest, Size: b.Size}
}

// Image is a manifest with what it needs.
type Image struct {
	Repository string // without the tier
	Desc       ocispec.Descriptor
	Body       []byte
	Blobs      []Blob
	Children   []*Image
	Tag        string // of its own: nothing else gets it

	evidence map[string]evidence // by predicate type; guarded by the journal
	rose     map[string]bool     // tiers that it was promoted to; guarded by the journal
}

// evidence is an attestation that was pushed.
type evidence struct {
	digest digest.Digest
	begun  bool
	done   int64 // when its push was acknowledged; 0: it was not
}

func (i *Image) name(tier string) string { return manifestName(tier, i.Repository, i.Desc.Digest) }

func manifestName(tier, repository string, d digest.Digest) string {
	return tier + "/" + repository + "@" + d.String()
}

func tagName(tier, repository, tag string) string { return tier + "/" + repository + ":" + tag }

// newImage makes an image that nobody has made before, of layers of its own and shared ones.
func (c *Client) newImage(repository string) *Image {
	layers := []Blob{c.sharedLayer()}
	switch n := c.rand.IntN(100); {
	case n < 3:
		layers = append(layers, newBlob(c.rand.Uint64(), largeLayer+int64(c.rand.IntN(largeLayer))))
	case n < 10:
		layers = append(layers, newBlob(c.rand.Uint64(), int64(100<<10+c.rand.IntN(400<<10))))
	case n < 60:
		layers = append(layers, newBlob(c.rand.Uint64(), int64(2+c.rand.IntN(smallLayer))))
	case n < 80:
		if other := c.sharedLayer(); other.Digest != layers[0].Digest {
			layers = append(layers, other)
		}
	}
	config := literalBlob(fmt.Appendf(nil, `{"architecture":"amd64","os":"linux","author":"%d-%x","rootfs":{"type":"layers","diff_ids":[]}}`, c.number, c.rand.Uint64()))
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config.descriptor(ocispec.MediaTypeImageConfig)}
	for _, layer := range layers {
		m.Layers = append(m.Layers, layer.descriptor(ocispec.MediaTypeImageLayer))
	}
	return c.image(repository, ocispec.MediaTypeImageManifest, m, append([]Blob{config}, layers...), nil)
}

// sharedLayer is one of few that many images have, so that it is mounted, skipped,
// orphaned and pushed again.
func (c *Client) sharedLayer() Blob {
	n := uint64(c.rand.IntN(sharedPool))
	return newBlob(1000+n, int64(500+n*997))
}

func (c *Client) newIndex(repository string, children []*Image) *Image {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Annotations: map[string]string{"made-by": fmt.Sprintf("%d-%x", c.number, c.rand.Uint64())}}
	for _, child := range children {
		index.Manifests = append(index.Manifests, child.Desc)
	}
	return c.image(repository, ocispec.MediaTypeImageIndex, index, nil, children)
}

func (c *Client) image(repository, mediaType string, document any, blobs []Blob, children []*Image) *Image {
	body, err := json.Marshal(document)
	if err != nil {
		body = nil // plain data: it cannot be
	}
	return &Image{Repository: repository, Body: body, Blobs: blobs, Children: children,
		Desc: ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(body), Size: int64(len(body))},
		Tag:  fmt.Sprintf("v%d-%x", c.number, c.rand.Uint32()), evidence: map[string]evidence{}, rose: map[string]bool{}}
}
