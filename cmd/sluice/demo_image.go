package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
)

// buildImage writes an image for two platforms into store and returns its index. Two
// runs give the same digest. The platforms share one layer, as real ones do.
func buildImage(ctx context.Context, store content.Pusher) (ocispec.Descriptor, error) {
	shared, err := layer("etc/motd", strings.Repeat("Artifacts rise like boats in a lock.\n", 2000))
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	sharedDesc, err := put(ctx, store, ocispec.MediaTypeImageLayer, shared)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := platformImage(ctx, store, ocispec.Platform{OS: "linux", Architecture: arch}, sharedDesc)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		index.Manifests = append(index.Manifests, image)
	}
	return putJSON(ctx, store, ocispec.MediaTypeImageIndex, index)
}

func platformImage(ctx context.Context, store content.Pusher, platform ocispec.Platform, shared ocispec.Descriptor) (ocispec.Descriptor, error) {
	own, err := layer("usr/share/app/platform", platform.OS+"/"+platform.Architecture+"\n")
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	ownDesc, err := put(ctx, store, ocispec.MediaTypeImageLayer, own)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	config, err := putJSON(ctx, store, ocispec.MediaTypeImageConfig, ocispec.Image{
		Platform: platform,
		Config:   ocispec.ImageConfig{Cmd: []string{"/bin/app"}},
		// Layers are not compressed, so their digests are the diff ids.
		RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{shared.Digest, ownDesc.Digest}},
	})
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	image, err := putJSON(ctx, store, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: config, Layers: []ocispec.Descriptor{shared, ownDesc},
	})
	image.Platform = &platform
	return image, err
}

// layer is a tar archive of one file, the same every time.
func layer(name, text string) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatUSTAR}); err != nil {
		return nil, err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func putJSON(ctx context.Context, store content.Pusher, mediaType string, v any) (ocispec.Descriptor, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return put(ctx, store, mediaType, body)
}

func put(ctx context.Context, store content.Pusher, mediaType string, body []byte) (ocispec.Descriptor, error) {
	desc := content.NewDescriptorFromBytes(mediaType, body)
	if err := store.Push(ctx, desc, bytes.NewReader(body)); err != nil {
		return desc, fmt.Errorf("build image: %w", err)
	}
	return desc, nil
}

// compareGraphs reads everything that root leads to from both sides and compares it byte
// for byte. It returns how much that was.
func compareGraphs(ctx context.Context, a, b content.Fetcher, root ocispec.Descriptor) (contents int, size int64, err error) {
	seen := map[digest.Digest]bool{}
	queue := []ocispec.Descriptor{root}
	for len(queue) > 0 {
		desc := queue[0]
		queue = queue[1:]
		if seen[desc.Digest] {
			continue
		}
		seen[desc.Digest] = true
		left, err := content.FetchAll(ctx, a, desc)
		if err != nil {
			return 0, 0, err
		}
		right, err := content.FetchAll(ctx, b, desc)
		if err != nil {
			return 0, 0, err
		}
		if !bytes.Equal(left, right) {
			return 0, 0, fmt.Errorf("%s differs from what was pushed", desc.Digest)
		}
		contents, size = contents+1, size+int64(len(left))
		below, err := content.Successors(ctx, a, desc)
		if err != nil {
			return 0, 0, err
		}
		queue = append(queue, below...)
	}
	return contents, size, nil
}
