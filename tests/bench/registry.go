package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	octets    = "application/octet-stream"
	mediaMfst = ocispec.MediaTypeImageManifest
	chunkSize = 16 << 20
	copySize  = 256 << 10 // buffers of a client
)

// How clients upload a blob.
const (
	byPut    = "PUT"   // POST, then one PUT: oras, containerd
	byPatch  = "PATCH" // POST, one PATCH of unknown length, PUT: docker, podman
	byChunks = "16 MiB chunks"
)

// registry is one repository of a registry, as a client sees it.
type registry struct {
	url        string // http://host:port
	repository string
	client     *http.Client
}

// newClient makes a client that keeps its connections.
func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true,
		WriteBufferSize: copySize, ReadBufferSize: copySize}}
}

// at is the same registry with another repository.
func (r registry) at(repository string) registry {
	r.repository = repository
	return r
}

func (r registry) v2(path string) string { return r.url + "/v2/" + r.repository + path }

// do makes a request and returns an answer of one of the wanted codes, whose body the
// caller closes.
func (r registry) do(ctx context.Context, method, target string, body io.Reader, length int64, header http.Header, want ...int) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header
	}
	req.ContentLength = length
	req.Header.Set("Accept", mediaMfst+", "+ocispec.MediaTypeImageIndex)
	resp, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	if slices.Contains(want, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only to tell more
	return nil, fmt.Errorf("%s %s: %s %s", method, target, resp.Status, said)
}

// call is do for an answer whose body does not matter. It returns the header.
func (r registry) call(ctx context.Context, method, target string, body io.Reader, length int64, header http.Header, want ...int) (http.Header, error) {
	resp, err := r.do(ctx, method, target, body, length, header, want...)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.Header, err
}

func typed(mediaType string) http.Header { return http.Header{"Content-Type": {mediaType}} }

// step sends a part of an upload and returns where it goes on.
func (r registry) step(ctx context.Context, method, at string, body io.Reader, length int64, header http.Header) (string, error) {
	answer, err := r.call(ctx, method, at, body, length, header, http.StatusAccepted)
	if err != nil {
		return "", err
	}
	base, err := url.Parse(at)
	if err != nil {
		return "", err
	}
	next, err := base.Parse(answer.Get("Location"))
	if err != nil {
		return "", err
	}
	return next.String(), nil
}

// begin opens an upload.
func (r registry) begin(ctx context.Context) (at string, err error) {
	return r.step(ctx, http.MethodPost, r.v2("/blobs/uploads/"), nil, 0, nil)
}

// finish ends an upload with its last bytes, which may be none.
func (r registry) finish(ctx context.Context, at string, d digest.Digest, body io.Reader, length int64) error {
	target, err := url.Parse(at)
	if err != nil {
		return err
	}
	q := target.Query()
	q.Set("digest", d.String())
	target.RawQuery = q.Encode()
	_, err = r.call(ctx, http.MethodPut, target.String(), body, length, typed(octets), http.StatusCreated)
	return err
}

// push uploads a blob in the way of one of the clients.
func (r registry) push(ctx context.Context, b blob, how string) error {
	at, err := r.begin(ctx)
	if err != nil {
		return err
	}
	n := int64(len(b.data))
	switch how {
	case byPut:
		return r.finish(ctx, at, b.digest, bytes.NewReader(b.data), n)
	case byPatch:
		if at, err = r.step(ctx, http.MethodPatch, at, io.MultiReader(bytes.NewReader(b.data)), -1, typed(octets)); err != nil {
			return err
		}
	case byChunks:
		for off := int64(0); off < n; off += chunkSize {
			end := min(off+chunkSize, n)
			header := typed(octets)
			header.Set("Content-Range", fmt.Sprintf("%d-%d", off, end-1))
			if at, err = r.step(ctx, http.MethodPatch, at, bytes.NewReader(b.data[off:end]), end-off, header); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("no client uploads by %q", how)
	}
	return r.finish(ctx, at, b.digest, nil, 0)
}

// pull reads a blob to its end.
func (r registry) pull(ctx context.Context, d digest.Digest, size int64) error {
	resp, err := r.do(ctx, http.MethodGet, r.v2("/blobs/"+d.String()), nil, 0, nil, http.StatusOK)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return discard(resp.Body, size)
}

// discard reads all of a body through a buffer of a client's size.
func discard(body io.Reader, size int64) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body}, make([]byte, copySize))
	if err == nil && n != size {
		err = fmt.Errorf("got %d of %d bytes", n, size)
	}
	return err
}

// get makes a request that reads, and throws away what it answers.
func (r registry) get(ctx context.Context, method, path string) error {
	_, err := r.call(ctx, method, r.v2(path), nil, 0, nil, http.StatusOK)
	return err
}

// body reads an answer whole.
func (r registry) body(ctx context.Context, path string) ([]byte, error) {
	resp, err := r.do(ctx, http.MethodGet, r.v2(path), nil, 0, nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, 64<<20))
}

// pushImage pushes a configuration and layers one after the other, then the manifest.
func (r registry) pushImage(ctx context.Context, tag string, layers []blob) (ocispec.Descriptor, error) {
	config := newBlob([]byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"x":"` + tag + `"}`))
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: mediaMfst,
		Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: config.digest, Size: int64(len(config.data))}}
	for _, layer := range layers {
		manifest.Layers = append(manifest.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layer.digest, Size: int64(len(layer.data))})
	}
	for _, b := range append(slices.Clone(layers), config) {
		if err := r.push(ctx, b, byPut); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	return r.pushManifest(ctx, tag, manifest)
}

// pushManifest pushes a manifest under a tag, or under its digest where tag is empty.
func (r registry) pushManifest(ctx context.Context, tag string, manifest ocispec.Manifest) (ocispec.Descriptor, error) {
	data, err := json.Marshal(manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	desc := ocispec.Descriptor{MediaType: mediaMfst, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if tag == "" {
		tag = desc.Digest.String()
	}
	_, err = r.call(ctx, http.MethodPut, r.v2("/manifests/"+tag), bytes.NewReader(data), desc.Size, typed(mediaMfst), http.StatusCreated)
	return desc, err
}

// resolve asks what a tag points at.
func (r registry) resolve(ctx context.Context, tag string) (digest.Digest, error) {
	header, err := r.call(ctx, http.MethodHead, r.v2("/manifests/"+tag), nil, 0, nil, http.StatusOK)
	if err != nil {
		return "", err
	}
	d := header.Get("Docker-Content-Digest")
	if d == "" {
		return "", errors.New("the answer has no Docker-Content-Digest")
	}
	return digest.Digest(d), nil
}

// host is what references begin with.
func (r registry) host() string { return strings.TrimPrefix(r.url, "http://") }
