package oci

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of a manifest.
const (
	MaxManifestSize  = 4 << 20 // bytes; the least that the distribution spec asks for, and enough
	MaxManifestDepth = 32      // levels of JSON
	MaxIndexDepth    = 8       // indexes within indexes
	MaxIndexWidth    = 1000    // manifests in one index
)

// Manifest is what the registry needs to know of a manifest of any supported type.
type Manifest struct {
	MediaType    string
	ArtifactType string // as the referrers API reports it: artifactType, else the config's media type
	Config       *ocispec.Descriptor
	Layers       []ocispec.Descriptor // also the blobs of an artifact manifest
	Children     []ocispec.Descriptor // the manifests of an index
	Subject      *ocispec.Descriptor
	Annotations  map[string]string
}

// Blobs lists the blobs that must be present for the manifest to be complete, each
// digest once: config and layers, without layers that may not be distributed.
func (m *Manifest) Blobs() []ocispec.Descriptor {
	var blobs []ocispec.Descriptor
	seen := map[digest.Digest]bool{}
	add := func(d ocispec.Descriptor) {
		if !seen[d.Digest] && IsDistributable(d.MediaType) {
			seen[d.Digest] = true
			blobs = append(blobs, d)
		}
	}
	if m.Config != nil {
		add(*m.Config)
	}
	for _, l := range m.Layers {
		add(l)
	}
	return blobs
}

// document holds every key that a manifest of any supported type may have. Pointers tell
// a missing key from an empty one: a document that is an image to one reader and an index
// to another (CVE-2021-41190) is neither.
type document struct {
	SchemaVersion *int              `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *descriptor       `json:"config"`
	Layers        *[]descriptor     `json:"layers"`
	Manifests     *[]descriptor     `json:"manifests"`
	Blobs         *[]descriptor     `json:"blobs"`
	FSLayers      jsontext.Value    `json:"fsLayers"`
	Subject       *descriptor       `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         *int64            `json:"size"`
	URLs         []string          `json:"urls"`
	Annotations  map[string]string `json:"annotations"`
	Data         []byte            `json:"data"`
	Platform     *ocispec.Platform `json:"platform"`
	ArtifactType string            `json:"artifactType"`
}

// ParseManifest reads a manifest strictly: no duplicate keys, nothing behind the
// document, bounded depth, valid UTF-8, no document that could be read as two types.
// contentType is what the client or the store says it is; empty leaves it to the
// document. The error wraps ErrManifestInvalid, or ErrTooLarge.
func ParseManifest(contentType string, body []byte) (*Manifest, error) {
	if len(body) > MaxManifestSize {
		return nil, fmt.Errorf("%w: the manifest has %d bytes, at most %d are allowed", ErrTooLarge, len(body), MaxManifestSize)
	}
	m, err := parseManifest(contentType, body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrManifestInvalid, err)
	}
	return m, nil
}

func parseManifest(contentType string, body []byte) (*Manifest, error) {
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return nil, err
	}
	mediaType, err := doc.mediaType(contentType)
	if err != nil {
		return nil, err
	}
	if doc.SchemaVersion == nil && mediaType != MediaTypeArtifactManifest || doc.SchemaVersion != nil && *doc.SchemaVersion != 2 {
		return nil, errors.New("schemaVersion must be 2")
	}
	if err := doc.checkShape(mediaType); err != nil {
		return nil, err
	}
	m := &Manifest{MediaType: mediaType, ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if m.Config, err = optional("config", doc.Config); err != nil {
		return nil, err
	}
	if m.Subject, err = optional("subject", doc.Subject); err != nil {
		return nil, err
	}
	if m.Layers, err = list("layers", doc.Layers); err != nil {
		return nil, err
	}
	if mediaType == MediaTypeArtifactManifest {
		if m.Layers, err = list("blobs", doc.Blobs); err != nil {
			return nil, err
		}
	}
	if m.Children, err = list("manifests", doc.Manifests); err != nil {
		return nil, err
	}
	if len(m.Children) > MaxIndexWidth {
		return nil, fmt.Errorf("the index has %d manifests, at most %d are allowed", len(m.Children), MaxIndexWidth)
	}
	if m.ArtifactType == "" && m.Config != nil {
		m.ArtifactType = m.Config.MediaType
	}
	return m, nil
}

// mediaType settles the type: what was said from outside and what the document says of
// itself must agree.
func (doc *document) mediaType(contentType string) (string, error) {
	mediaType := doc.MediaType
	if contentType != "" {
		outer, _, err := mime.ParseMediaType(contentType)
		if err != nil {
			return "", fmt.Errorf("content type %q: %w", contentType, err)
		}
		if mediaType != "" && outer != mediaType {
			return "", fmt.Errorf("the content type is %q, the document's mediaType %q", outer, mediaType)
		}
		mediaType = outer
	}
	if mediaType == "" {
		return "", errors.New("no content type and no mediaType: one of them must say what it is")
	}
	if !IsManifest(mediaType) {
		return "", fmt.Errorf("media type %q is none of a manifest", mediaType)
	}
	return mediaType, nil
}

// checkShape refuses keys that belong to another type than mediaType.
func (doc *document) checkShape(mediaType string) error {
	has := map[string]bool{
		"config": doc.Config != nil, "layers": doc.Layers != nil, "manifests": doc.Manifests != nil,
		"blobs": doc.Blobs != nil, "fsLayers": doc.FSLayers != nil,
	}
	var foreign []string
	switch {
	case IsIndex(mediaType):
		foreign = []string{"config", "layers", "blobs", "fsLayers"}
	case mediaType == MediaTypeArtifactManifest:
		foreign = []string{"config", "layers", "manifests", "fsLayers"}
	default:
		foreign = []string{"manifests", "blobs", "fsLayers"}
		if doc.Config == nil {
			return errors.New("config is missing")
		}
	}
	for _, key := range foreign {
		if has[key] {
			return fmt.Errorf("%q has no place in a document of type %q", key, mediaType)
		}
	}
	if IsIndex(mediaType) && doc.Manifests == nil {
		return errors.New("manifests is missing")
	}
	return nil
}

func optional(field string, d *descriptor) (*ocispec.Descriptor, error) {
	if d == nil {
		return nil, nil
	}
	out, err := d.check()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return &out, nil
}

func list(field string, ds *[]descriptor) ([]ocispec.Descriptor, error) {
	if ds == nil {
		return nil, nil
	}
	out := make([]ocispec.Descriptor, len(*ds))
	for i := range *ds {
		d, err := (*ds)[i].check()
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", field, i, err)
		}
		out[i] = d
	}
	return out, nil
}

// check turns a descriptor into image-spec's, refusing what "OCI Content Descriptors"
// does not allow.
func (d *descriptor) check() (ocispec.Descriptor, error) {
	dgst, err := ParseDigest(d.Digest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	switch {
	case d.MediaType == "":
		return ocispec.Descriptor{}, errors.New("mediaType is missing")
	case d.Size == nil:
		return ocispec.Descriptor{}, errors.New("size is missing")
	case *d.Size < 0:
		return ocispec.Descriptor{}, fmt.Errorf("size %d is negative", *d.Size)
	case d.Data != nil && (int64(len(d.Data)) != *d.Size || dgst.Algorithm().FromBytes(d.Data) != dgst):
		return ocispec.Descriptor{}, errors.New("data is not what digest and size say")
	}
	return ocispec.Descriptor{
		MediaType: d.MediaType, Digest: dgst, Size: *d.Size, URLs: d.URLs, Annotations: d.Annotations,
		Data: d.Data, Platform: d.Platform, ArtifactType: d.ArtifactType,
	}, nil
}

// checkJSON walks the tokens of one JSON object. The decoder itself refuses duplicate
// names and invalid UTF-8.
func checkJSON(body []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(body))
	if dec.PeekKind() != '{' {
		return errors.New("not a JSON object")
	}
	var keys keyChecker
	for first := true; first || dec.StackDepth() > 0; first = false {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		depth := dec.StackDepth()
		if depth > MaxManifestDepth {
			return fmt.Errorf("nested deeper than %d levels", MaxManifestDepth)
		}
		if kind, n := dec.StackIndex(depth); kind == '{' && n%2 == 1 { // the token is a key, not a value
			if err := keys.check(depth, token); err != nil {
				return err
			}
		}
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return errors.New("something follows the document")
	}
	return nil
}

// keyChecker refuses case variants of the keys that this and other readers understand:
// readers that fold case, as encoding/json does, would let "Layers" take the place of
// "layers", or "Digest" that of the digest which was checked. Keys that nobody knows, and
// those of annotations, are the client's own.
type keyChecker struct {
	top   string // the last key of the document
	inner string // the last key of a descriptor
}

func (k *keyChecker) check(depth int, token jsontext.Token) error {
	if depth == 1 {
		k.top, k.inner = token.String(), ""
		return checkKey(k.top, "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "blobs", "fsLayers", "subject", "annotations")
	}
	descriptorDepth := 0
	switch k.top {
	case "config", "subject":
		descriptorDepth = 2
	case "layers", "manifests", "blobs":
		descriptorDepth = 3 // in a list
	}
	switch {
	case descriptorDepth == 0:
	case depth == descriptorDepth:
		k.inner = token.String()
		return checkKey(k.inner, "mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType")
	case depth == descriptorDepth+1 && k.inner == "platform":
		return checkKey(token.String(), "architecture", "os", "os.version", "os.features", "variant")
	}
	return nil
}

func checkKey(name string, known ...string) error {
	for _, key := range known {
		if name != key && strings.EqualFold(name, key) {
			return fmt.Errorf("key %q: it is spelt %q", name, key)
		}
	}
	return nil
}
