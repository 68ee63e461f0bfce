package promote

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// Facts collects what a policy is asked about an artifact, from any source: the stores of
// the registry, or the registry protocol for whoever tries a policy from outside. A store
// that does not answer is an error; evidence that does not count is not.
func Facts(ctx context.Context, src attest.Source, root ocispec.Descriptor, authorities []attest.Authority, now time.Time) ([]policy.Platform, []attest.Evidence, error) {
	return facts(ctx, src, attest.Verify, root, authorities, now)
}

// verify is attest.Verify, or an attest.Verifier's.
type verify func(attest.Attachment, digest.Digest, []attest.Authority, time.Time) attest.Evidence

func facts(ctx context.Context, src attest.Source, verify verify, root ocispec.Descriptor, authorities []attest.Authority, now time.Time) ([]policy.Platform, []attest.Evidence, error) {
	platforms, evidence, err := platformsOf(ctx, src, root, now)
	if err != nil {
		return nil, nil, err
	}
	for _, subject := range subjectsOf(root, platforms) {
		attached, err := attachedTo(ctx, src, verify, subject, authorities, now)
		if err != nil {
			return nil, nil, err
		}
		evidence = append(evidence, attached...)
	}
	return platforms, evidence, nil
}

// subjectsOf are the manifests that evidence may be about.
func subjectsOf(root ocispec.Descriptor, platforms []policy.Platform) []digest.Digest {
	subjects := []digest.Digest{root.Digest}
	for _, platform := range platforms {
		subjects = append(subjects, platform.Digest)
	}
	return subjects
}

// attachedTo finds and verifies what is attached to one manifest.
func attachedTo(ctx context.Context, src attest.Source, verify verify, subject digest.Digest, authorities []attest.Authority, now time.Time) ([]attest.Evidence, error) {
	found, err := attest.Find(ctx, src, subject, attest.Limits{})
	if err != nil {
		return nil, err
	}
	evidence := make([]attest.Evidence, len(found))
	for i, attachment := range found {
		evidence[i] = verify(attachment, subject, authorities, now)
	}
	return evidence, nil
}

// platformsOf collects the images of an index that need evidence of their own, and what
// unsigned statements say. What is exempt is so by content: manifests that hold in-toto
// statements and nothing else.
func platformsOf(ctx context.Context, src attest.Source, root ocispec.Descriptor, now time.Time) ([]policy.Platform, []attest.Evidence, error) {
	w := walk{src: src, now: now, looked: map[digest.Digest]bool{}}
	if err := w.index(ctx, root, 0); err != nil {
		return nil, nil, err
	}
	return w.platforms, w.unsigned, nil
}

type walk struct {
	src       attest.Source
	now       time.Time
	looked    map[digest.Digest]bool
	platforms []policy.Platform
	unsigned  []attest.Evidence
	content   int64 // bytes of them
}

func (w *walk) index(ctx context.Context, desc ocispec.Descriptor, level int) error {
	if !oci.IsIndex(desc.MediaType) {
		return nil
	}
	if level > oci.MaxIndexDepth {
		return fmt.Errorf("%w: indexes are nested more than %d deep", oci.ErrManifestInvalid, oci.MaxIndexDepth)
	}
	m, err := readManifest(ctx, w.src, desc)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(m.Children, aheadChunk) {
		if r, ok := w.src.(*reader); ok {
			if err := r.ahead(ctx, chunk); err != nil {
				return err
			}
		}
		for _, child := range chunk {
			if err := w.child(ctx, child, level); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walk) child(ctx context.Context, child ocispec.Descriptor, level int) error {
	// An index may name one manifest a thousand times, and so may the indexes in it.
	if w.looked[child.Digest] {
		return nil
	}
	w.looked[child.Digest] = true
	if oci.IsIndex(child.MediaType) {
		return w.index(ctx, child, level+1)
	}
	found, only, err := attest.FindUnsigned(ctx, w.src, child, attest.Limits{MaxTotalBytes: min(attest.DefaultLimits().MaxTotalBytes, max(maxEvidence-w.content, 1))})
	if err != nil {
		return err
	}
	for _, attachment := range found {
		w.content += int64(len(attachment.Content))
		w.unsigned = append(w.unsigned, attest.Verify(attachment, child.Digest, nil, w.now))
	}
	if !only {
		w.platforms = append(w.platforms, policy.Platform{Digest: child.Digest, Name: platformName(child)})
	}
	return nil
}

// readManifest reads and parses one manifest; its bytes are what the digest says.
func readManifest(ctx context.Context, src attest.Source, desc ocispec.Descriptor) (*oci.Manifest, error) {
	body, err := attest.Read(ctx, src, desc, oci.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	return oci.ParseManifest(desc.MediaType, body)
}

func platformName(desc ocispec.Descriptor) string {
	if desc.Platform == nil {
		return "unknown"
	}
	name := desc.Platform.OS + "/" + desc.Platform.Architecture
	return strings.TrimSuffix(name+"/"+desc.Platform.Variant, "/")
}
