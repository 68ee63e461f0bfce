package promote

import (
	"context"

	"sluice.dev/sluice/tiers"
)

// Check is that of the registry, and looks besides whether everything above the tiers that
// are pushed to was let through by a verdict, and whether the journals of promotions agree
// with themselves and with what they have left behind.
func (e *Engine) Check(ctx context.Context, o tiers.CheckOptions, progress func(tiers.Checked)) (tiers.Checked, error) {
	return e.registry.Check(ctx, o, progress)
}
