package conformance_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// kind is one kind of artifact: everything that has to be pushed for it, in order.
type kind struct {
	algorithm digest.Algorithm
	blobs     []string
	manifests []pushed
	tags      map[string]digest.Digest
}

// pushed is a manifest with what the registry must say of it.
type pushed struct {
	ocispec.Descriptor // as its referrer's entry
	body               string
	subject            digest.Digest
}

// blob adds a blob and describes it.
func (k *kind) blob(mediaType, content string) ocispec.Descriptor {
	if !slices.Contains(k.blobs, content) {
		k.blobs = append(k.blobs, content)
	}
	return ocispec.Descriptor{MediaType: mediaType, Digest: k.algorithm.FromString(content), Size: int64(len(content))}
}

// absent describes content that is never pushed.
func (k *kind) absent(mediaType, content string) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: k.algorithm.FromString(content), Size: int64(len(content))}
}

func (k *kind) add(mediaType string, document any, subject *ocispec.Descriptor, artifactType string, annotations map[string]string, tags ...string) ocispec.Descriptor {
	body, ok := document.(string)
	if !ok {
		data, err := json.Marshal(document)
		if err != nil {
			panic(err) // of plain structs
		}
		body = string(data)
	}
	p := pushed{body: body, Descriptor: k.absent(mediaType, body)}
	p.ArtifactType, p.Annotations = artifactType, annotations
	if subject != nil {
		p.subject = subject.Digest
	}
	k.manifests = append(k.manifests, p)
	for _, tag := range tags {
		k.tags[tag] = p.Digest
	}
	return k.absent(mediaType, body)
}

// image adds an image manifest under tags.
func (k *kind) image(m ocispec.Manifest, tags ...string) ocispec.Descriptor {
	m.SchemaVersion, m.MediaType = 2, ocispec.MediaTypeImageManifest
	if m.Layers == nil {
		m.Layers = []ocispec.Descriptor{}
	}
	artifactType := m.ArtifactType
	if artifactType == "" {
		artifactType = m.Config.MediaType
	}
	return k.add(m.MediaType, m, m.Subject, artifactType, m.Annotations, tags...)
}

// index adds an index under tags.
func (k *kind) index(m ocispec.Index, tags ...string) ocispec.Descriptor {
	m.Versioned, m.MediaType = specs.Versioned{SchemaVersion: 2}, ocispec.MediaTypeImageIndex
	if m.Manifests == nil {
		m.Manifests = []ocispec.Descriptor{}
	}
	return k.add(m.MediaType, m, m.Subject, m.ArtifactType, m.Annotations, tags...)
}

// platform adds an ordinary image for an architecture.
func (k *kind) platform(architecture, layerType string, tags ...string) ocispec.Descriptor {
	layers := []ocispec.Descriptor{k.blob(layerType, architecture+" layer 1"), k.blob(layerType, architecture+" layer 2")}
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","rootfs":{"type":"layers","diff_ids":[%q,%q]}}`, architecture, layers[0].Digest, layers[1].Digest)
	return k.image(ocispec.Manifest{Config: k.blob(ocispec.MediaTypeImageConfig, config), Layers: layers}, tags...)
}

// empty is the empty descriptor of the image spec, of the algorithm.
func (k *kind) empty() ocispec.Descriptor { return k.blob(ocispec.MediaTypeEmptyJSON, "{}") }

const referrerType = "application/vnd.test.referrer"

// referrer adds an artifact about subject.
func (k *kind) referrer(subject ocispec.Descriptor, number int, tags ...string) ocispec.Descriptor {
	return k.image(ocispec.Manifest{
		ArtifactType: fmt.Sprint(referrerType, number%2), Config: k.empty(), Layers: []ocispec.Descriptor{k.blob("text/plain", fmt.Sprint("note ", number))},
		Subject: &subject, Annotations: map[string]string{"org.opencontainers.image.title": fmt.Sprint("referrer ", number), "empty": "", "quoted": "\"<&>\u2028é"},
	}, tags...)
}

// kinds are the kinds of artifact that a registry has to keep.
func kinds() map[string]func(*kind) {
	const tar, gzip = ocispec.MediaTypeImageLayer, ocispec.MediaTypeImageLayerGzip
	return map[string]func(*kind){
		"image":              func(k *kind) { k.platform("amd64", gzip, "image") },
		"image-uncompressed": func(k *kind) { k.platform("amd64", tar, "image") },
		"large-manifest": func(k *kind) {
			annotations := map[string]string{}
			for i := range 390 {
				annotations[fmt.Sprintf("org.example.%03d", i)] = strings.Repeat("x", 10_000)
			}
			k.image(ocispec.Manifest{Config: k.empty(), Layers: []ocispec.Descriptor{k.blob(tar, "layer")}, Annotations: annotations}, "large")
		},
		"index": func(k *kind) {
			k.index(ocispec.Index{Manifests: []ocispec.Descriptor{k.platform("amd64", gzip, "amd64"), k.platform("arm64", gzip)}}, "index", "latest")
		},
		"nested-index": func(k *kind) {
			inner := k.index(ocispec.Index{Manifests: []ocispec.Descriptor{k.platform("amd64", gzip), k.platform("arm64", gzip)}})
			k.index(ocispec.Index{Manifests: []ocispec.Descriptor{inner, k.platform("s390x", gzip)}, Annotations: map[string]string{"nested": "yes"}}, "nested")
		},
		"empty-index": func(k *kind) { k.index(ocispec.Index{}, "empty") },
		"artifact": func(k *kind) {
			k.image(ocispec.Manifest{ArtifactType: "application/vnd.test.artifact", Config: k.empty(), Layers: []ocispec.Descriptor{k.blob("text/plain", "a file")}, Annotations: map[string]string{"a": "b"}}, "artifact")
		},
		"artifact-index": func(k *kind) {
			part := func(name string) ocispec.Descriptor {
				return k.image(ocispec.Manifest{ArtifactType: "application/vnd.test.part", Config: k.empty(), Layers: []ocispec.Descriptor{k.blob("text/plain", name)}})
			}
			k.index(ocispec.Index{ArtifactType: "application/vnd.test.set", Manifests: []ocispec.Descriptor{part("one"), part("two")}}, "set")
		},
		"artifact-without-layers": func(k *kind) {
			k.image(ocispec.Manifest{ArtifactType: "application/vnd.test.artifact", Config: k.empty(), Layers: []ocispec.Descriptor{k.empty()}}, "bare")
		},
		"image-with-referrers": func(k *kind) {
			image := k.platform("amd64", gzip, "image")
			for i := range 5 {
				k.referrer(image, i)
			}
			k.referrer(k.manifests[1].plain(), 7, "about-a-referrer")
		},
		"index-with-an-index-as-referrer": func(k *kind) {
			index := k.index(ocispec.Index{Manifests: []ocispec.Descriptor{k.platform("amd64", gzip)}}, "index")
			k.index(ocispec.Index{ArtifactType: "application/vnd.test.set", Subject: &index, Manifests: []ocispec.Descriptor{k.referrer(k.absent(typeImage, "elsewhere"), 1)}, Annotations: map[string]string{"set": "1"}})
			k.referrer(index, 2)
		},
		"missing-subject": func(k *kind) {
			k.referrer(k.absent(ocispec.MediaTypeImageManifest, "never pushed"), 1, "tagged")
			k.index(ocispec.Index{Subject: &[]ocispec.Descriptor{k.absent(ocispec.MediaTypeImageManifest, "never pushed")}[0]})
		},
		"data": func(k *kind) {
			config, layer := k.empty(), k.blob("text/plain", "inline")
			config.Data, layer.Data = []byte("{}"), []byte("inline")
			k.image(ocispec.Manifest{ArtifactType: "application/vnd.test.data", Config: config, Layers: []ocispec.Descriptor{layer}}, "data")
		},
		"non-distributable": func(k *kind) {
			foreign := k.absent("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "licensed")
			foreign.URLs = []string{"https://example.com/licensed.tar.gz"}
			k.image(ocispec.Manifest{Config: k.empty(), Layers: []ocispec.Descriptor{foreign, k.blob(gzip, "layer")}}, "foreign")
		},
		"unknown-fields": func(k *kind) {
			config := k.blob(ocispec.MediaTypeImageConfig, `{"architecture":"amd64","os":"linux","org.example":{"a":[1,2.50]},"rootfs":{"type":"layers","diff_ids":[]}}`)
			body := fmt.Sprintf(`{"schemaVersion": 2,"mediaType":%q,"config":%s,"layers":[],"org.example.new":{"a":[1,2.50,null,true]},  "annotations":{"b":"2","a":"1"}}`, typeImage, described(config, `,"org.example.also":"x"`))
			k.add(typeImage, body, nil, config.MediaType, map[string]string{"a": "1", "b": "2"}, "unknown")
		},
		"no-layers": func(k *kind) {
			k.image(ocispec.Manifest{Config: k.blob(ocispec.MediaTypeImageConfig, `{"architecture":"amd64","os":"linux"}`)}, "none")
		},
	}
}

// plain is the descriptor without what only listings of referrers have.
func (p pushed) plain() ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: p.MediaType, Digest: p.Digest, Size: p.Size}
}

// described renders a descriptor, extra at its end.
func described(d ocispec.Descriptor, extra string) string {
	s := sized(d.MediaType, d.Digest.String(), fmt.Sprint(d.Size))
	return s[:len(s)-1] + extra + "}"
}

// TestKinds takes every kind of artifact, under both algorithms, from its first blob to
// its last DELETE.
func TestKinds(t *testing.T) {
	c := client{registry: newRegistry(t, nil)}
	for _, algorithm := range algorithms() {
		for name, build := range kinds() {
			t.Run(name+" "+algorithm.String(), func(t *testing.T) {
				k := &kind{algorithm: algorithm, tags: map[string]digest.Digest{}}
				build(k)
				life := &life{T: t, client: c, kind: k, repo: "dev/kinds/" + name + "-" + algorithm.String()}
				life.push()
				life.pull()
				life.discover()
				life.remove()
			})
		}
	}
}
