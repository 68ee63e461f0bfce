package promote

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// tour goes through the manifests of a tier, a page at a time, to have what stands there
// decided about: for a backtest, or because something was revoked.
type tour struct {
	registry *tiers.Registry
	tier     *tiers.Tier
	most     int                          // manifests that visit takes
	looks    int                          // manifests and repositories that are looked at for them
	until    time.Time                    // after which no further one is begun; zero: never
	may      func(repository string) bool // nil: all
	matches  func(repository string) bool // which are of interest
	visit    func(ctx context.Context, repo *tiers.Repository, m tiers.Listed) (taken bool, err error)

	looked, taken int
	next          string // what to go on with as last; empty at the end
}

// walk begins behind last, which is the next of the page before: a repository, or a manifest
// of one.
func (t *tour) walk(ctx context.Context, last string) error {
	repository, after, inside := strings.Cut(last, "@")
	if inside {
		if err := t.repository(ctx, repository, after); err != nil || t.full() {
			return err
		}
	}
	for {
		names, more, err := t.registry.Repositories(ctx, t.tier.Name, repository, backtestPage)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := t.repository(ctx, name, ""); err != nil || t.full() {
				return err
			}
		}
		if more == "" {
			return nil
		}
		repository = more
	}
}

func (t *tour) full() bool { return t.next != "" }

func (t *tour) late() bool { return !t.until.IsZero() && time.Now().After(t.until) }

// repository goes through one repository after a digest. The page ends at one that may be
// looked at, however many others stand before it: the cursor must not name one that may not
// be. Passing over those costs little.
func (t *tour) repository(ctx context.Context, name, after string) error {
	if t.may != nil && !t.may(name) {
		return nil
	}
	t.looked++
	if t.matches(name) {
		if err := t.manifests(ctx, name, after); err != nil {
			return err
		}
	}
	if !t.full() && (t.looked >= t.looks || t.late()) {
		t.next = name
	}
	return nil
}

// manifests goes through the manifests of one repository after a digest. Where the page is
// full it says where to go on.
func (t *tour) manifests(ctx context.Context, name, after string) error {
	repo, err := t.registry.Repository(t.tier.Name, name, "")
	if err != nil {
		return err
	}
	for {
		listed, more, err := repo.Manifests(ctx, after, backtestPage)
		if errors.Is(err, oci.ErrNameUnknown) {
			return nil // gone since it was listed, or a cursor that was made up
		}
		if err != nil {
			return err
		}
		for _, m := range listed {
			if t.taken >= t.most || t.looked >= t.looks || t.taken > 0 && t.late() {
				t.next = name + "@" + after
				return nil
			}
			t.looked++
			after = m.Digest.String()
			taken, err := t.visit(ctx, repo, m)
			if err != nil {
				return err
			}
			if taken {
				t.taken++
			}
		}
		if more == "" {
			return nil
		}
	}
}

// artifact is a manifest that stands in a tier for itself.
type artifact struct {
	repo *tiers.Repository
	tiers.Listed
	tags []string
}

// imageTags are the tags of a manifest that are not cosign's.
func imageTags(ctx context.Context, repo *tiers.Repository, d digest.Digest) ([]string, error) {
	all, err := repo.TagsOf(ctx, d)
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, tag := range all {
		if !oci.IsAttachmentTag(tag) {
			tags = append(tags, tag)
		}
	}
	return tags, nil
}

// gather finds what is attached to a manifest and its platforms. What it is worth evidenceAt
// says.
func (e *Engine) gather(ctx context.Context, repo *tiers.Repository, root ocispec.Descriptor) (*plan, error) {
	quarantined, err := e.registry.Quarantined(ctx)
	if err != nil {
		return nil, err
	}
	found, from := &plan{}, e.reader(repo)
	if found.platforms, found.evidence, err = platformsOf(ctx, from, root, e.registry.Now()); err != nil {
		return nil, err
	}
	found.unsigned = len(found.evidence)
	for chunk := range slices.Chunk(subjectsOf(root, found.platforms), aheadChunk) {
		if err := from.look(ctx, chunk); err != nil {
			return nil, err
		}
		for _, subject := range chunk {
			all, err := attest.Find(ctx, from, subject, attest.Limits{})
			if err != nil {
				return nil, err
			}
			held, err := uncounted(ctx, quarantined, all)
			if err != nil {
				return nil, err
			}
			found.attached = append(found.attached, attached{subject, all, held})
		}
	}
	return found, nil
}

// ask says what a policy says at a time of an artifact that stands in the tier above, by what
// is attached to it, without what is revoked.
func (e *Engine) ask(ctx context.Context, pol *policy.Policy, a artifact, found *plan, revoked *revocations, at time.Time) (policy.Verdict, error) {
	evidence := found.evidenceAt(e.verify(revoked), pol.Authorities(), at)
	standing, err := e.standing(ctx, pol, evidence)
	if err != nil {
		return policy.Verdict{}, err
	}
	reference := e.host() + "/" + a.repo.FullName()
	if len(a.tags) > 0 {
		reference += ":" + a.tags[0]
	}
	return pol.EvaluateContext(ctx, policy.Facts{
		Repository: a.repo.Name, Digest: a.Digest, MediaType: a.MediaType, Now: at, Platforms: found.platforms, Evidence: evidence,
		Reference: reference + "@" + a.Digest.String(), Registry: e.surroundings(), Standing: standing,
	})
}
