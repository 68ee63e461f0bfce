package promote

import "context"

// What is large, of a plan or a promotion: it takes seconds or minutes where others take a
// moment. From either bound on it is.
const (
	largeReferences = 5_000   // to blobs and manifests
	largeBytes      = 1 << 30 // that have to be copied
)

// largePlansOnce is how many large plans a replica makes at once: how many are asked for is
// up to the callers, and each may take a hundred MiB.
const largePlansOnce = 2

// large says whether it takes long to carry out a plan. Where both tiers share a store,
// nothing is copied.
func (p *plan) large(shared bool) bool {
	return p.references >= largeReferences || !shared && p.bytes >= largeBytes
}

// shared says whether what a request asks for stays in one store.
func (e *Engine) shared(r Request) bool {
	from, err := e.registry.Tier(r.From)
	if err != nil {
		return false
	}
	to, err := e.registry.Tier(r.To)
	return err == nil && from.Store() == to.Store()
}

// takeTurn has a plan that has become large wait for its turn. What it holds so far is
// little.
func (p *planner) takeTurn(ctx context.Context) error {
	if p.large || p.plan.references < largeReferences {
		return nil
	}
	select {
	case p.engine.largePlans <- struct{}{}:
		p.large = true
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turnEnds is called when the plan is made.
func (p *planner) turnEnds() {
	if p.large {
		<-p.engine.largePlans
	}
}
