package main

import (
	"context"
	"crypto"
	"strings"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers/ledger"
)

// openLedger opens the log of the registry, or begins it. It is named for where it is served.
func (i *instance) openLedger(ctx context.Context, keys map[string]crypto.Signer) (*ledger.Ledger, error) {
	_, host, _ := strings.Cut(i.cfg.URL, "://")
	return ledger.New(ctx, ledger.Config{
		Registry: i.registry, Tier: i.cfg.Ledger.Tier, Signer: keys[promote.LedgerSigner], Origin: host + "/ledger", Log: i.log,
	})
}

// recordedGate is the engine for the pages: a promotion says where it stands in the ledger.
type recordedGate struct {
	*promote.Engine
	ledger *ledger.Ledger
}

// Promotion finds a promotion. The page does without its index where that cannot be read.
func (g recordedGate) Promotion(ctx context.Context, id string) (promote.Promotion, error) {
	p, err := g.Engine.Promotion(ctx, id)
	if err != nil || !p.State.Terminal() {
		return p, err
	}
	if indexes, err := g.ledger.Index(ctx, id); err == nil {
		if index, ok := indexes[id]; ok {
			p.LedgerIndex = &index
		}
	}
	return p, nil
}
