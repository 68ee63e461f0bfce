package promote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// Bounds of what one plan reads ahead.
const (
	aheadBytes = 32 << 20 // of manifests that are kept
	aheadChunk = 64       // manifests, or subjects, that are read ahead together
	aheadReads = 16       // at once
)

// reader reads a repository for one plan, much at once and ahead of its use: a closure of
// ten thousand manifests would take as many round trips one after the other, and more.
// What it keeps was in the repository when the plan began or later. It serves one
// goroutine.
type reader struct {
	*tiers.Repository
	guarded func(context.Context, func() error) error // turns a panic into an error
	bodies  map[digest.Digest][]byte                  // manifests; a window on those that were read last
	kept    int                                       // bytes of bodies
	// subjects are those about which it is known what hangs on them.
	subjects map[digest.Digest]hanging
	untagged map[string]bool // fallback tags of subjects of which no tag of their own exists
}

// hanging is what is known of a subject.
type hanging struct {
	generation tiers.Record // from before the rest was looked at
	bare       bool         // nothing names it
}

func (e *Engine) reader(r *tiers.Repository) *reader {
	return &reader{Repository: r, guarded: e.guarded, bodies: map[digest.Digest][]byte{}, subjects: map[digest.Digest]hanging{}, untagged: map[string]bool{}}
}

// ahead reads manifests that will be asked for next. What cannot be read is left to whoever
// asks for it.
func (r *reader) ahead(ctx context.Context, descs []ocispec.Descriptor) error {
	var wanted []ocispec.Descriptor
	size, twice := 0, map[digest.Digest]bool{}
	for _, desc := range descs {
		if twice[desc.Digest] {
			continue
		}
		twice[desc.Digest] = true
		if r.bodies[desc.Digest] == nil && desc.Size > 0 && desc.Size <= aheadBytes/aheadChunk {
			wanted = append(wanted, desc)
			size += int(desc.Size)
		}
	}
	if r.kept += size; r.kept > aheadBytes {
		clear(r.bodies)
		r.kept = size
	}
	bodies := make([][]byte, len(wanted))
	err := r.atOnce(ctx, len(wanted), func(ctx context.Context, i int) error {
		bodies[i], _ = attest.Read(ctx, r.Repository, wanted[i], wanted[i].Size)
		return ctx.Err()
	})
	for i, body := range bodies {
		if body != nil {
			r.bodies[wanted[i].Digest] = body
		}
	}
	return err
}

// atOnce does n things, some at once. A panic in a goroutine would end the process.
func (r *reader) atOnce(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(aheadReads)
	for i := range n {
		group.Go(func() error { return r.guarded(ctx, func() error { return do(ctx, i) }) })
	}
	return group.Wait()
}

// Fetch opens a manifest or blob.
func (r *reader) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if body, ok := r.bodies[desc.Digest]; ok && oci.IsManifest(desc.MediaType) {
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	return r.Repository.Fetch(ctx, desc)
}

// look finds out what hangs on subjects, if that is not known: their generations first, so
// that what goes from then on is noticed by whoever relies on them.
func (r *reader) look(ctx context.Context, subjects []digest.Digest) error {
	var fresh []digest.Digest
	for _, s := range subjects {
		if _, ok := r.subjects[s]; !ok {
			r.subjects[s] = hanging{}
			fresh = append(fresh, s)
		}
	}
	generations, err := r.SubjectGenerations(ctx, fresh...)
	if err != nil {
		return err
	}
	named := make([]bool, len(fresh))
	err = r.atOnce(ctx, len(fresh), func(ctx context.Context, i int) (err error) {
		named[i], err = r.HasReferrers(ctx, fresh[i])
		return err
	})
	if err != nil {
		return err
	}
	for i, s := range fresh {
		r.subjects[s] = hanging{generation: generations[i], bare: !named[i]}
	}
	return r.lookForTags(ctx, fresh)
}

// lookForTags finds the subjects of which clients keep nothing under tags.
func (r *reader) lookForTags(ctx context.Context, subjects []digest.Digest) error {
	var tags []string
	for _, s := range subjects {
		if s.Algorithm() != digest.SHA256 {
			continue // a longer digest does not fit into a tag with a suffix
		}
		tag := oci.FallbackTag(s)
		r.untagged[tag] = true
		tags = append(tags, tag)
		for _, suffix := range cosignSuffixes {
			tags = append(tags, tag+suffix)
		}
	}
	there, err := r.TagsThere(ctx, tags...)
	for _, tag := range there {
		delete(r.untagged, bareTag(tag))
	}
	return err
}

// bareTag is the fallback tag of the subject that a tag belongs to.
func bareTag(tag string) string {
	bare, _, _ := strings.Cut(tag, ".")
	return bare
}

// Resolve finds the manifest that a tag or digest names.
func (r *reader) Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error) {
	if r.untagged[bareTag(reference)] {
		return ocispec.Descriptor{}, fmt.Errorf("%w: %s:%s", oci.ErrManifestUnknown, r.FullName(), reference)
	}
	return r.Repository.Resolve(ctx, reference)
}

// Referrers lists a page of what names a subject.
func (r *reader) Referrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) ([]ocispec.Descriptor, string, error) {
	if r.subjects[subject].bare {
		return nil, "", nil
	}
	return r.Repository.Referrers(ctx, subject, artifactType, last, n)
}
