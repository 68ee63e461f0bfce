package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// headerChunkMin tells clients how long chunks should be, all but the last. Shorter ones
// are taken too, but S3 takes no shorter parts, so each of them is stored again with those
// that follow until they are a part together.
const headerChunkMin = "OCI-Chunk-Min-Length"

// startUpload answers "POST /v2/<name>/blobs/uploads/": a mount, a whole blob, or a
// session for one to come.
func (s *Server) startUpload(r v2Request) error {
	ctx, q := r.Request().Context(), r.QueryParams()
	var algorithm digest.Algorithm // that runs along
	if q.Has("mount") {
		d, err := oci.ParseDigest(q.Get("mount"))
		if err != nil {
			return err
		}
		ok, err := s.mount(r, d)
		if err != nil {
			return err
		}
		if ok {
			return r.created(d)
		}
		algorithm = d.Algorithm()
	}
	if q.Has("digest-algorithm") {
		var err error
		if algorithm, err = oci.ParseAlgorithm(q.Get("digest-algorithm")); err != nil {
			return err
		}
	}
	if !q.Has("digest") {
		u, err := r.repo.StartUploadOf(ctx, algorithm)
		if err != nil {
			return err
		}
		r.describeUpload(u)
		r.Response().Header().Set(headerChunkMin, strconv.Itoa(tiers.PartMin))
		return r.NoContent(http.StatusAccepted)
	}
	d, err := oci.ParseDigest(q.Get("digest"))
	if err != nil {
		return err
	}
	if err := s.limitUpload(r, 0); err != nil {
		return err
	}
	if err := r.repo.PushBlob(ctx, r.Request().Body, r.Request().ContentLength, d); err != nil {
		return err
	}
	return r.created(d)
}

// mount tries to link a blob of another repository: that which from names, without one
// any. A source that the caller may not read, or that cannot be, is as good as one that
// has not got the blob.
func (s *Server) mount(r v2Request, d digest.Digest) (bool, error) {
	q := r.QueryParams()
	if !q.Has("from") {
		return r.repo.MountAny(r.Request().Context(), d, func(tier, repository string) bool {
			return s.allow(r, ActionPull, tier, repository) == nil
		})
	}
	source, err := s.open(r, q.Get("from"))
	if err != nil {
		return false, nil
	}
	if s.allow(r, ActionPull, source.Tier.Name, source.Name) != nil {
		return false, nil
	}
	return r.repo.Mount(r.Request().Context(), source, d)
}

// appendUpload answers "PATCH /v2/<name>/blobs/uploads/<id>", streamed or with a
// Content-Range.
func (s *Server) appendUpload(r v2Request) error {
	u, err := s.upload(r, r.repo.Upload)
	if err != nil {
		return err
	}
	r.describeUpload(u) // also of a chunk that is refused: the client can go on from there
	body, start, length, err := r.chunk()
	if err != nil {
		return err
	}
	if err := u.Append(r.Request().Context(), body, start, length); err != nil {
		return err
	}
	r.describeUpload(u)
	return r.NoContent(http.StatusAccepted)
}

// finishUpload answers "PUT /v2/<name>/blobs/uploads/<id>?digest=", with or without the
// last bytes.
func (s *Server) finishUpload(r v2Request) error {
	d, err := oci.ParseDigest(r.QueryParam("digest"))
	if err != nil {
		return err
	}
	body, start, length, malformed := r.chunk()
	find := r.repo.Upload
	if malformed == nil && length > 0 && start < 0 { // most clients send all of a blob so, or nothing more
		find = r.repo.WholeUpload
	}
	u, err := s.upload(r, find)
	if err != nil {
		return err
	}
	if err = malformed; err == nil {
		err = u.Finish(r.Request().Context(), body, start, length, d)
	}
	if errors.Is(err, oci.ErrRangeInvalid) { // the client can go on from where the upload is
		r.describeUpload(u)
	}
	if err != nil {
		return err
	}
	return r.created(d)
}

// uploadStatus answers "GET /v2/<name>/blobs/uploads/<id>".
func (s *Server) uploadStatus(r v2Request) error {
	u, err := s.upload(r, r.repo.Upload)
	if err != nil {
		return err
	}
	if u.Done() != "" {
		return fmt.Errorf("%w: %s has ended", oci.ErrUploadUnknown, u.ID)
	}
	r.describeUpload(u)
	return r.NoContent(http.StatusNoContent)
}

// cancelUpload answers "DELETE /v2/<name>/blobs/uploads/<id>".
func (s *Server) cancelUpload(r v2Request) error {
	u, err := s.upload(r, r.repo.Upload)
	if err != nil {
		return err
	}
	if err := u.Cancel(r.Request().Context()); err != nil {
		return err
	}
	return r.NoContent(http.StatusNoContent)
}

// upload finds the session and bounds what the request may add to it.
func (s *Server) upload(r v2Request, find func(ctx context.Context, id string) (*tiers.Upload, error)) (*tiers.Upload, error) {
	u, err := find(r.Request().Context(), r.route.ref)
	if err != nil {
		return nil, err
	}
	if u.Done() != "" { // whatever the body is, none of it is taken
		return u, nil
	}
	return u, s.limitUpload(r, u.Offset())
}

func (s *Server) limitUpload(r v2Request, offset int64) error {
	most := r.repo.Tier.Limits.BlobSize
	if most <= 0 {
		return nil
	}
	return limitBody(r, max(0, most-offset))
}

// describeUpload sets the headers that say where the upload is and how far it has come.
func (r v2Request) describeUpload(u *tiers.Upload) {
	header := r.Response().Header()
	header.Set("Location", r.path("blobs", "uploads", u.ID))
	header.Set("Range", "0-"+strconv.FormatInt(max(0, u.Offset()-1), 10)) // of nothing too, as its peers say
	header.Set("Docker-Upload-UUID", u.ID)
}

// contentRange is what the spec gives chunks, without the unit of RFC 9110.
var contentRange = regexp.MustCompile(`^([0-9]{1,18})-([0-9]{1,18})$`)

// chunk is the body of the request with the offset at which it begins and its length;
// either is negative where the client does not say.
func (r v2Request) chunk() (body io.Reader, start, length int64, err error) {
	request := r.Request()
	body, length = request.Body, request.ContentLength
	said := request.Header.Get("Content-Range")
	if said == "" {
		return body, -1, length, nil
	}
	m := contentRange.FindStringSubmatch(said)
	if m == nil {
		return nil, 0, 0, fmt.Errorf("%w: Content-Range %q is not start-end", oci.ErrRangeInvalid, said)
	}
	start, errStart := strconv.ParseInt(m[1], 10, 64)
	end, errEnd := strconv.ParseInt(m[2], 10, 64)
	if err := errors.Join(errStart, errEnd); err != nil {
		return nil, 0, 0, fmt.Errorf("%w: Content-Range %q: %w", oci.ErrRangeInvalid, said, err)
	}
	size := end - start + 1
	switch {
	case size <= 0:
		return nil, 0, 0, fmt.Errorf("%w: Content-Range %q ends before it begins", oci.ErrRangeInvalid, said)
	case length >= 0 && length != size:
		return nil, 0, 0, fmt.Errorf("%w: Content-Range %q holds %d bytes, the body %d", oci.ErrRangeInvalid, said, size, length)
	case length < 0:
		body = &exactBody{body: body, left: size}
	}
	return body, start, length, nil
}

// exactBody holds a body of unknown length to what its Content-Range said.
type exactBody struct {
	body io.Reader
	left int64
}

// Read fails where the body is shorter or longer.
func (b *exactBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, fmt.Errorf("%w: the body is longer than its Content-Range", oci.ErrSizeInvalid)
	}
	if err == io.EOF && b.left > 0 {
		return n, fmt.Errorf("%w: the body is shorter than its Content-Range", oci.ErrSizeInvalid)
	}
	return n, err
}
