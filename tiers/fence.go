package tiers

import (
	"context"
	"slices"
)

// A fence are conditions that hold for as long as somebody may do something, the owner of a
// promotion say. All that he writes compares them: once another has taken over, nothing
// that the former owner has still on its way is applied.

// lost says whether err is the conflict of a fence that holds no longer.
func lost(err error, fence []Condition) bool {
	return slices.ContainsFunc(fence, func(c Condition) bool { return hasConflict(err, c.Key) })
}

// retryBehind is Retry for as long as the fence holds: who has lost the right to do
// something need not try again.
func retryBehind(ctx context.Context, fence []Condition, change func() error) error {
	var end error
	err := Retry(ctx, func() error {
		err := change()
		if lost(err, fence) {
			end = err
			return nil
		}
		return err
	})
	if end != nil {
		return end
	}
	return err
}
