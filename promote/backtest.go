package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Bounds of one page of a backtest: what is over them is on the next.
const (
	maxBacktests     = 100  // artifacts that are decided about
	maxBacktestLooks = 2000 // manifests that are looked at to find them
	backtestPage     = 200
	backtestTime     = 30 * time.Second // after which no further artifact is begun
)

// Backtest asks what a policy would have said of what already stands in the tier that it
// guards. Nothing changes.
type Backtest struct {
	Policy *policy.Policy
	// At is the time that the policy is asked at: ages, validity of keys and exceptions,
	// freezes. Artifacts that came to the tier later are left out. Evidence is what is
	// attached in the tier now. Zero: now.
	At time.Time
	// Repository is a glob over repositories without their tier; empty for all that the
	// policy is about.
	Repository string
	// May says which repositories may be looked at; nil: all.
	May func(repository string) bool
}

// Backtested is what the policy says of one artifact.
type Backtested struct {
	Repository string          `json:"repository"`
	Digest     digest.Digest   `json:"digest"`
	Tags       []string        `json:"tags"`
	CreatedAt  time.Time       `json:"createdAt"` // when it came to the tier
	Allowed    bool            `json:"allowed"`
	Verdict    *policy.Verdict `json:"verdict,omitempty"`
	// Error says why there is no verdict; then Allowed is false.
	Error string `json:"error,omitempty"`
}

// Backtest decides about a page of at most n artifacts: what is tagged in the tier, but for
// evidence. last is the next of the page before; next is empty at the end. A page may be
// short, or empty, before that.
func (e *Engine) Backtest(ctx context.Context, b Backtest, last string, n int) (page []Backtested, next string, err error) {
	to, err := e.registry.Tier(b.Policy.To())
	if err != nil {
		return nil, "", err
	}
	if b.Repository != "" && !doublestar.ValidatePattern(b.Repository) {
		return nil, "", fmt.Errorf("%w: repository %q is no glob, as acme/** is", oci.ErrRequestInvalid, b.Repository)
	}
	if b.At.IsZero() {
		b.At = e.registry.Now()
	}
	run := &backtest{Backtest: b, engine: e, tier: to, most: min(max(n, 1), maxBacktests), until: time.Now().Add(backtestTime), page: []Backtested{}}
	repository, after, inside := strings.Cut(last, "@")
	if inside {
		if err := run.repository(ctx, repository, after); err != nil || run.full() {
			return run.page, run.next, err
		}
	}
	for {
		names, more, err := e.registry.Repositories(ctx, to.Name, repository, backtestPage)
		if err != nil {
			return nil, "", err
		}
		for _, name := range names {
			if err := run.repository(ctx, name, ""); err != nil || run.full() {
				return run.page, run.next, err
			}
		}
		if more == "" {
			return run.page, "", nil
		}
		repository = more
	}
}

// backtest is a page in the making.
type backtest struct {
	Backtest
	engine *Engine
	tier   *tiers.Tier
	most   int
	until  time.Time
	looked int
	page   []Backtested
	next   string
}

func (b *backtest) full() bool { return b.next != "" }

// repository goes through one repository after a digest. The page ends at one that may be
// looked at, however many others stand before it: the cursor must not name one that may not
// be. Passing over those costs little.
func (b *backtest) repository(ctx context.Context, name, after string) error {
	if b.May != nil && !b.May(name) {
		return nil
	}
	b.looked++
	if b.Policy.Matches(name) && (b.Repository == "" || doublestar.MatchUnvalidated(b.Repository, name)) {
		if err := b.manifests(ctx, name, after); err != nil {
			return err
		}
	}
	if !b.full() && (b.looked >= maxBacktestLooks || time.Now().After(b.until)) {
		b.next = name
	}
	return nil
}

// manifests goes through the manifests of one repository after a digest. Where the page is
// full it says where to go on.
func (b *backtest) manifests(ctx context.Context, name, after string) error {
	repo, err := b.engine.registry.Repository(b.tier.Name, name, "")
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
			if len(b.page) >= b.most || b.looked >= maxBacktestLooks || len(b.page) > 0 && time.Now().After(b.until) {
				b.next = name + "@" + after
				return nil
			}
			b.looked++
			if after = m.Digest.String(); m.Record.Subject != "" || m.Record.CreatedAt.After(b.At) {
				continue
			}
			if err := b.artifact(ctx, repo, m); err != nil {
				return err
			}
		}
		if more == "" {
			return nil
		}
	}
}

// artifact decides about a manifest, if it is more than a part of another or evidence.
func (b *backtest) artifact(ctx context.Context, repo *tiers.Repository, m tiers.Listed) error {
	all, err := repo.TagsOf(ctx, m.Digest)
	if err != nil {
		return err
	}
	var tags []string
	for _, tag := range all {
		if !oci.IsAttachmentTag(tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	out := Backtested{Repository: repo.Name, Digest: m.Digest, Tags: tags, CreatedAt: m.Record.CreatedAt}
	err = b.engine.guarded(ctx, func() error {
		platforms, evidence, err := facts(ctx, repo, b.engine.verifier.Verify, m.Descriptor, b.Policy.Authorities(), b.At)
		if err != nil {
			return err
		}
		standing, err := b.engine.standing(ctx, b.Policy, evidence)
		if err != nil {
			return err
		}
		verdict, err := b.Policy.EvaluateContext(ctx, policy.Facts{
			Repository: repo.Name, Digest: m.Digest, MediaType: m.MediaType, Now: b.At, Platforms: platforms, Evidence: evidence,
			Reference: b.engine.host() + "/" + repo.FullName() + ":" + tags[0] + "@" + m.Digest.String(),
			Registry:  b.engine.surroundings(), Standing: standing,
		})
		if err != nil {
			return err
		}
		out.Verdict, out.Allowed = &verdict, verdict.Allowed
		return nil
	})
	switch {
	case ctx.Err() != nil: // whatever came of it
		return ctx.Err()
	case errors.Is(err, oci.ErrUnavailable):
		return err
	}
	if err != nil {
		out.Error = err.Error()
	}
	b.page = append(b.page, out)
	return nil
}
