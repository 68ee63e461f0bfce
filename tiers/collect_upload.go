package tiers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"sluice.dev/sluice/oci"
)

// sweepUploads ends the sessions that clients left behind and removes what they wrote. A
// session is closed before its first object goes, in a transaction that compares its
// record, so a client that comes back finds it gone and never half.
func (c *collector) sweepUploads(ctx context.Context) error {
	return c.pages(ctx, Query{Prefix: prefixUpload, Limit: uploadPage}, func(page []Record) error {
		c.count(func(s *Swept) { s.Looked += int64(len(page)) })
		for _, record := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			c.endUpload(ctx, record)
		}
		return nil
	})
}

// endUpload ends a session if nobody has touched it for long. What of it only answers
// repeated requests names nothing and expires by itself.
func (c *collector) endUpload(ctx context.Context, record Record) {
	id := strings.TrimPrefix(record.Key, prefixUpload)
	state, err := Decode[uploadRecord](record)
	if err != nil {
		c.problem("", record.Key, err.Error())
		return
	}
	ended := state.Done != "" && len(state.Old) == 0 || state.Dropped && state.Key == ""
	if ended || c.began.Sub(state.touched()) <= c.collection.Upload {
		return
	}
	repo, err := c.Repository(state.Tier, state.Repository, state.By)
	if err != nil {
		c.problem("", record.Key, fmt.Sprintf("an upload to %s/%s was left behind, and what it wrote stays as long as the tier is not configured: %v", state.Tier, state.Repository, err))
		return
	}
	item := CollectItem{Store: repo.Tier.store, Tier: state.Tier, Repository: state.Repository, Key: id, Size: state.Offset,
		Why: fmt.Sprintf("nobody has touched the upload since %s", stamp(state.touched()))}
	u := &Upload{ID: id, repo: repo, record: record, state: state}
	end := u.drop
	if state.Done != "" {
		end = u.clean
		item.Size, item.Why = 0, "the upload has ended and left objects behind"
	}
	if !c.options.DryRun {
		if err := end(ctx); errors.Is(err, oci.ErrRangeInvalid) || errors.Is(err, oci.ErrConflict) {
			return // somebody uses it after all
		} else if err != nil {
			c.problem(repo.Tier.store, record.Key, err.Error())
			return
		}
	}
	c.gone(item)
}
