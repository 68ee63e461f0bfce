package failpoint

import (
	"context"
	"time"

	"sluice.dev/sluice/tiers"
)

// laterTimeout bounds a call that is applied late.
const laterTimeout = 5 * time.Second

// catalog has points around every call of a catalog.
type catalog struct {
	tiers.Catalog
	points *Points
}

// Get has no passage behind it: a read that was made changes nothing.
func (c *catalog) Get(ctx context.Context, keys ...string) ([]tiers.Record, error) {
	if c.points.pass("catalog.get@"+activity()+"/before", false) == isLost {
		return nil, lost("catalog.get")
	}
	return c.Catalog.Get(ctx, keys...)
}

func (c *catalog) List(ctx context.Context, q tiers.Query) ([]tiers.Record, error) {
	if c.points.pass("catalog.list@"+activity()+"/before", false) == isLost {
		return nil, lost("catalog.list")
	}
	return c.Catalog.List(ctx, q)
}

func (c *catalog) Commit(ctx context.Context, change tiers.Change) (revision int64, err error) {
	name := "txn." + kind(change) + "@" + activity()
	err = c.points.around(name, func() (err error) {
		revision, err = c.Catalog.Commit(ctx, change)
		return err
	}, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), laterTimeout)
		defer cancel()
		_, _ = c.Catalog.Commit(ctx, change) // nobody waits for the answer
	})
	return revision, err
}
