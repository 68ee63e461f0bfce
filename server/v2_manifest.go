package server

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	headerDigest  = "Docker-Content-Digest"
	headerSubject = "OCI-Subject"
	headerTag     = "OCI-Tag"
)

// What caches may keep: content under its digest never changes, but only the caller may
// have been allowed to read it; what a tag points at must be asked anew.
const (
	cacheForever = "private, max-age=31536000, immutable"
	cacheAsk     = "private, no-cache"
)

// getManifest answers "GET" and "HEAD /v2/<name>/manifests/<reference>" with the manifest
// as it was pushed, with the same headers to both.
//
// Accept is not looked at, so the answer does not vary with it: bytes of another type
// would be of another digest, and a refusal would help nobody. Clients live with that:
// they look at the Content-Type.
func (s *Server) getManifest(r v2Request) error {
	ctx := r.Request().Context()
	if r.Request().Method == http.MethodHead {
		desc, err := pull(s, r, func(repo *tiers.Repository) (ocispec.Descriptor, error) { return repo.Resolve(ctx, r.route.ref) })
		if err != nil {
			return s.pointBelow(r, err)
		}
		r.describe(desc)
		return r.send(desc.Size, nil)
	}
	m, err := pull(s, r, func(repo *tiers.Repository) (m pulledManifest, err error) {
		m.desc, m.body, err = repo.Manifest(ctx, r.route.ref)
		return m, err
	})
	if err != nil {
		return s.pointBelow(r, err)
	}
	r.describe(m.desc)
	err = r.send(m.desc.Size, m.body)
	s.recordPull(r, m.desc.Digest)
	return err
}

type pulledManifest struct {
	desc ocispec.Descriptor
	body []byte
}

// send sends a manifest whose headers are set: all of it at once, as nearly every client
// asks, or a part of it. body is nil for HEAD.
func (r v2Request) send(size int64, body []byte) error {
	if conditional(r.Request()) {
		content := io.ReadSeeker(bytes.NewReader(body))
		if body == nil {
			content = io.NewSectionReader(nil, 0, size) // of which nothing is read
		}
		return r.serve(content, size)
	}
	header := r.Response().Header()
	header.Set("Accept-Ranges", "bytes")
	header.Set("Content-Length", strconv.FormatInt(size, 10))
	r.Response().WriteHeader(http.StatusOK)
	if body == nil {
		return nil
	}
	_, err := r.Response().Write(body)
	return err
}

// conditional says whether a request wants more than the content as it is: a part of it,
// or only if it has changed (RFC 9110, sections 13 and 14).
func conditional(r *http.Request) bool {
	for _, name := range []string{"Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since"} {
		if r.Header[name] != nil {
			return true
		}
	}
	return false
}

// describe sets the headers that say what a body is.
func (r v2Request) describe(desc ocispec.Descriptor) {
	header := r.Response().Header()
	header.Set("Content-Type", desc.MediaType)
	header.Set(headerDigest, desc.Digest.String())
	header.Set("ETag", `"`+desc.Digest.String()+`"`)
	if oci.IsDigest(r.route.ref) {
		header.Set("Cache-Control", cacheForever)
	} else {
		header.Set("Cache-Control", cacheAsk)
	}
}

// putManifest answers "PUT /v2/<name>/manifests/<reference>", for a digest with the tags
// that ?tag= names. What the path and the query say is checked before the body is read.
func (s *Server) putManifest(r v2Request) error {
	want, err := r.expectedDigest()
	if err != nil {
		return err
	}
	tags, err := r.pushTags()
	if err != nil {
		return err
	}
	if err := limitBody(r, r.repo.Tier.MaxManifest()); err != nil {
		return err
	}
	body, err := io.ReadAll(r.Request().Body)
	if err != nil {
		return err
	}
	pushed, err := r.repo.PutManifest(r.Request().Context(), r.route.ref, want, r.Request().Header.Get("Content-Type"), body, tags...)
	if err != nil {
		return err
	}
	header := r.Response().Header()
	header.Set("Location", r.path("manifests", pushed.Digest.String()))
	header.Set(headerDigest, pushed.Digest.String())
	if pushed.Subject != "" {
		header.Set(headerSubject, pushed.Subject.String())
	}
	for _, tag := range tags {
		header.Add(headerTag, tag)
	}
	r.warnOfPush(pushed)
	return r.NoContent(http.StatusCreated)
}

// pushTags are the tags that the query asks for beside a digest, each once.
func (r v2Request) pushTags() ([]string, error) {
	given := r.QueryParams()["tag"]
	if len(given) == 0 {
		return nil, nil
	}
	if !oci.IsDigest(r.route.ref) {
		return nil, fmt.Errorf("%w: ?tag= goes with a digest in the path, not with the tag %s", oci.ErrTagInvalid, r.route.ref)
	}
	return tiers.DistinctTags(given)
}

// expectedDigest is what the manifest must be, where the client says so: as the reference,
// or as ?digest= beside a tag.
func (r v2Request) expectedDigest() (digest.Digest, error) {
	var want digest.Digest
	if q := r.QueryParams(); q.Has("digest") {
		d, err := oci.ParseDigest(q.Get("digest"))
		if err != nil {
			return "", err
		}
		want = d
	}
	if !oci.IsDigest(r.route.ref) {
		return want, oci.CheckTag(r.route.ref)
	}
	d, err := oci.ParseDigest(r.route.ref)
	if err == nil && want != "" && want != d {
		err = fmt.Errorf("%w: the path says %s, the query %s", oci.ErrDigestInvalid, d, want)
	}
	return d, err
}

// deleteManifest answers "DELETE /v2/<name>/manifests/<reference>": of a tag, the tag
// alone.
func (s *Server) deleteManifest(r v2Request) error {
	ctx := r.Request().Context()
	if !oci.IsDigest(r.route.ref) {
		if err := r.repo.DeleteTag(ctx, r.route.ref); err != nil {
			return err
		}
		return r.NoContent(http.StatusAccepted)
	}
	d, err := oci.ParseDigest(r.route.ref)
	if err != nil {
		return err
	}
	if err := r.repo.DeleteManifest(ctx, d); err != nil {
		if errors.Is(err, oci.ErrUnsupported) {
			r.Response().Header().Set("Allow", "GET, HEAD, PUT")
		}
		return err
	}
	return r.NoContent(http.StatusAccepted)
}
