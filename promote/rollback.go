package promote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// A rollback is a promotion whose tags go back to an artifact that they named before. All
// else is as ever: the policy in force decides over the evidence there is now, and one
// transaction makes it visible. So what the tags name now can be rolled forward to again,
// and what would no longer pass is not gone back to.

const rollbackPage = 200 // promotions that are held in memory while the former is looked for

// checkRollback refuses a request that cannot be one.
func (r Request) checkRollback() error {
	switch {
	case r.Rollback && len(r.Tags) == 0:
		return fmt.Errorf("%w: tags is missing: a rollback moves tags", oci.ErrRequestInvalid)
	case r.Replaces != "" && !r.Rollback:
		return fmt.Errorf("%w: replaces goes with rollback", oci.ErrRequestInvalid)
	case r.Replaces != "":
		if _, err := oci.ParseDigest(r.Replaces.String()); err != nil {
			return fmt.Errorf("%w: replaces: %v", oci.ErrRequestInvalid, err) // %v: it is no fault of content
		}
	}
	return nil
}

// mayMove says whether a promotion may move a tag from one artifact to another; nil: it may.
func (e *Engine) mayMove(ctx context.Context, r Request, target *tiers.Repository, tag string, from, to digest.Digest) error {
	if err := r.mayLeave(target, tag, from); err != nil || !r.Rollback {
		return err
	}
	was, err := e.wasOn(ctx, target, tag, to)
	if err == nil && !was {
		err = fmt.Errorf("%w: %s:%s was never %s: a rollback goes back to what an earlier promotion put the tag on, and what still stands in the tier",
			oci.ErrTagImmutable, target.FullName(), tag, to)
	}
	return err
}

// mayLeave is mayMove but for where the tag was before, which nothing changes.
func (r Request) mayLeave(target *tiers.Repository, tag string, from digest.Digest) error {
	switch {
	case !r.Rollback && !target.Tier.Moves(tag):
		return fmt.Errorf("%w: %s:%s is %s and does not move: promote under another tag, or list it in the tier's movingTags",
			oci.ErrTagImmutable, target.FullName(), tag, from)
	case r.Replaces != "" && r.Replaces != from:
		return fmt.Errorf("%w: %s:%s is %s, not %s: look at what it became, and ask again if that is meant", oci.ErrConflict, target.FullName(), tag, cmp.Or(from, "not set"), r.Replaces)
	}
	return nil
}

// wasOn says whether an earlier promotion put a tag on an artifact that still stands in the
// tier. There is no record of that but the promotions themselves: the newest are looked at
// first.
func (e *Engine) wasOn(ctx context.Context, target *tiers.Repository, tag string, d digest.Digest) (bool, error) {
	if _, err := target.Resolve(ctx, d.String()); err != nil {
		if errors.Is(err, oci.ErrManifestUnknown) {
			err = nil
		}
		return false, err
	}
	filter := Filter{Repository: target.Name, To: target.Tier.Name, State: Succeeded}
	for last := ""; ; {
		page, next, err := e.Promotions(ctx, filter, last, rollbackPage)
		if err != nil {
			return false, err
		}
		for _, p := range page {
			if p.Digest == d && slices.Contains(p.Tags, tag) {
				return true, nil
			}
		}
		if last = next; next == "" {
			return false, nil
		}
	}
}
