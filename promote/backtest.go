package promote

import (
	"context"
	"errors"
	"fmt"
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
	revoked, err := e.revocations(ctx)
	if err != nil {
		return nil, "", err
	}
	run := &backtest{Backtest: b, engine: e, revoked: revoked, page: []Backtested{}}
	t := &tour{registry: e.registry, tier: to, most: min(max(n, 1), maxBacktests), looks: maxBacktestLooks, until: time.Now().Add(backtestTime), may: b.May,
		matches: func(name string) bool {
			return b.Policy.Matches(name) && (b.Repository == "" || doublestar.MatchUnvalidated(b.Repository, name))
		},
		visit: func(ctx context.Context, repo *tiers.Repository, m tiers.Listed) (bool, error) {
			if m.Record.Subject != "" || m.Record.CreatedAt.After(b.At) {
				return false, nil
			}
			before := len(run.page)
			err := run.artifact(ctx, repo, m)
			return len(run.page) > before, err
		}}
	err = t.walk(ctx, last)
	return run.page, t.next, err
}

// backtest is a page in the making.
type backtest struct {
	Backtest
	engine  *Engine
	revoked *revocations
	page    []Backtested
}

// artifact decides about a manifest, if it is more than a part of another or evidence.
func (b *backtest) artifact(ctx context.Context, repo *tiers.Repository, m tiers.Listed) error {
	tags, err := imageTags(ctx, repo, m.Digest)
	if err != nil || len(tags) == 0 {
		return err
	}
	out := Backtested{Repository: repo.Name, Digest: m.Digest, Tags: tags, CreatedAt: m.Record.CreatedAt}
	err = b.engine.guarded(ctx, func() error {
		found, err := b.engine.gather(ctx, repo, m.Descriptor)
		if err != nil {
			return err
		}
		verdict, err := b.engine.ask(ctx, b.Policy, artifact{repo, m, tags}, found, b.revoked, b.At)
		if err == nil {
			out.Verdict, out.Allowed = &verdict, verdict.Allowed
		}
		return err
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
