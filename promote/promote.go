package promote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

const (
	maxTags      = 20                     // of one promotion
	maxReason    = 1024                   // bytes
	pollInterval = 100 * time.Millisecond // of a promotion that another replica works on
)

// Promote carries out a request and returns the promotion in a terminal state, or Pending
// where it waits for approvals. created is false where the same was asked and done before. A
// policy that says no is no error: the promotion is Failed. A promotion that is Errored comes
// with the error. When ctx ends early the promotion goes on.
func (e *Engine) Promote(ctx context.Context, actor string, request Request) (p Promotion, created bool, err error) {
	p, created, err = e.Start(ctx, actor, request)
	if err != nil {
		return p, created, err
	}
	o, err := e.wait(ctx, p.ID)
	if err != nil {
		return p, created, err
	}
	return o.Promotion, created, o.failure()
}

// Start records a request and carries it out in the background.
func (e *Engine) Start(ctx context.Context, actor string, request Request) (p Promotion, created bool, err error) {
	return e.start(ctx, actor, request, func(string) tiers.Change { return tiers.Change{} })
}

// start is Start with what is compared and written together with the request, given the id
// of the promotion.
func (e *Engine) start(ctx context.Context, actor string, request Request, extra func(id string) tiers.Change) (p Promotion, created bool, err error) {
	prepared, err := e.prepare(ctx, actor, &request)
	if err != nil {
		return Promotion{}, false, err
	}
	return e.startPrepared(ctx, actor, request, prepared, extra)
}

// prepare completes a request, refuses one that cannot be carried out, and plans it.
func (e *Engine) prepare(ctx context.Context, actor string, request *Request) (*prepared, error) {
	source, err := e.check(request, actor)
	if err != nil {
		return nil, err
	}
	pol, err := e.policyOf(ctx, request.To)
	if err != nil {
		return nil, err
	}
	prepared := &prepared{policy: pol, at: e.registry.Now()}
	err = e.guarded(ctx, func() (err error) {
		from := e.reader(source)
		if prepared.seen, err = e.see(ctx, from, *request); err != nil {
			return err
		}
		prepared.plan, err = e.planFor(ctx, from, *request, pol)
		return err
	})
	if err != nil {
		return nil, err
	}
	return prepared, e.checkTags(ctx, *request, prepared.plan)
}

func (e *Engine) startPrepared(ctx context.Context, actor string, request Request, prepared *prepared, extra func(id string) tiers.Change) (p Promotion, created bool, err error) {
	o, created, err := e.begin(ctx, actor, request, prepared.plan, prepared.policy, extra)
	if err != nil {
		return Promotion{}, false, err
	}
	p = o.Promotion // the work changes o from here on
	if created {
		o.prepared = prepared
		e.launch(o, func() {})
	}
	return p, created, nil
}

// Evaluate asks the policy and changes nothing.
func (e *Engine) Evaluate(ctx context.Context, actor string, request Request) (policy.Verdict, error) {
	source, err := e.check(&request, actor)
	if err != nil {
		return policy.Verdict{}, err
	}
	pol, err := e.policyOf(ctx, request.To)
	if err != nil {
		return policy.Verdict{}, err
	}
	var verdict policy.Verdict
	err = e.guarded(ctx, func() error {
		plan, err := e.planFor(ctx, e.reader(source), request, pol)
		if err == nil {
			verdict, err = e.decide(ctx, request, plan, pol)
		}
		return err
	})
	return verdict, err
}

// check completes a request and refuses one that can never be carried out.
func (e *Engine) check(r *Request, actor string) (*tiers.Repository, error) {
	to, err := e.registry.Tier(r.To)
	if err != nil {
		return nil, err
	}
	if to.From == "" {
		return nil, fmt.Errorf("%w: nothing rises to %s, clients push to it", oci.ErrRequestInvalid, to.Name)
	}
	if r.From == "" {
		r.From = to.From
	}
	if r.From != to.From {
		return nil, fmt.Errorf("%w: %s rises from %s, not from %s: no tier is skipped", oci.ErrRequestInvalid, to.Name, to.From, r.From)
	}
	source, err := e.registry.Repository(r.From, r.Repository, actor)
	if err != nil {
		return nil, err
	}
	if r.Reference == "" {
		return nil, fmt.Errorf("%w: reference is missing: want a tag or digest of %s", oci.ErrRequestInvalid, source.FullName())
	}
	if _, err := r.patience(); err != nil {
		return nil, err
	}
	if len(r.Reason) > maxReason {
		return nil, fmt.Errorf("%w: the reason has %d bytes, at most %d are kept", oci.ErrRequestInvalid, len(r.Reason), maxReason)
	}
	if tag := askedTag(*r); tag != "" && len(r.Tags) == 0 {
		r.Tags = []string{tag}
	}
	if len(r.Tags) > maxTags {
		return nil, fmt.Errorf("%w: %d tags, at most %d go with one promotion", oci.ErrRequestInvalid, len(r.Tags), maxTags)
	}
	r.Tags = slices.Clone(r.Tags)
	slices.Sort(r.Tags)
	r.Tags = slices.Compact(r.Tags)
	for _, tag := range r.Tags {
		if err := oci.CheckTag(tag); err != nil {
			return nil, fmt.Errorf("%w: %w", oci.ErrRequestInvalid, err)
		}
		if oci.IsAttachmentTag(tag) {
			return nil, fmt.Errorf("%w: tag %s belongs to the evidence of a digest and rises with that", oci.ErrRequestInvalid, tag)
		}
	}
	if r.Tags == nil {
		r.Tags = []string{}
	}
	return source, r.checkRollback()
}

// checkTags refuses a promotion that would move a tag that may not move.
func (e *Engine) checkTags(ctx context.Context, r Request, p *plan) error {
	target, err := e.registry.Repository(r.To, r.Repository, "")
	if err != nil {
		return err
	}
	for _, tag := range r.Tags {
		desc, err := target.Resolve(ctx, tag)
		switch unset := errors.Is(err, oci.ErrManifestUnknown); {
		case unset && !r.Rollback: // one that was never set goes nowhere back
			continue
		case err != nil && !unset:
			return err
		}
		if desc.Digest != p.basis.Root.Digest {
			if err := e.mayMove(ctx, r, target, tag, desc.Digest, p.basis.Root.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide asks the policy. It reads nothing but the plan. The error wraps
// oci.ErrUndecidable where the policy takes too long.
func (e *Engine) decide(ctx context.Context, r Request, p *plan, pol *inForce) (policy.Verdict, error) {
	reference := e.host() + "/" + r.From + "/" + r.Repository
	if tag := askedTag(r); tag != "" {
		reference += ":" + tag
	}
	facts := policy.Facts{
		Repository: r.Repository, Digest: p.basis.Root.Digest, MediaType: p.basis.Root.MediaType, Now: e.registry.Now(),
		Platforms: p.platforms, Evidence: p.evidence, Reference: reference + "@" + p.basis.Root.Digest.String(),
		Registry: e.surroundings(), Standing: p.standing,
	}
	if !pol.Matches(r.Repository) {
		return policy.Verdict{Policy: policy.Identity{Name: pol.Name(), Digest: pol.Digest()}, EvaluatedAt: facts.Now, Rules: []policy.Rule{{
			Name: "repositories", Mode: policy.Enforce, Evidence: []policy.Used{},
			Message: fmt.Sprintf("policy %s does not cover repository %s: nothing of it rises to %s", pol.Name(), r.Repository, r.To),
			Remedy:  fmt.Sprintf("sluice policy lint %s.yaml   # after adding %s to spec.repositories", pol.Name(), r.Repository),
		}}}, nil
	}
	verdict, err := pol.EvaluateContext(ctx, facts)
	if err == nil && p.held != nil {
		verdict = quarantined(verdict, *p.held, p.basis.Root.Digest)
	}
	return verdict, err
}

// wait returns the journal once it is terminal, or waits for somebody else.
func (e *Engine) wait(ctx context.Context, id string) (*opened, error) {
	for {
		e.mu.Lock()
		r := e.running[id]
		e.mu.Unlock()
		if r != nil {
			select {
			case <-r.done:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		o, err := e.open(ctx, id)
		if err != nil || o.State.Terminal() || o.waits() {
			return o, err
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-e.ctx.Done():
			return nil, fmt.Errorf("%w: the server is stopping; promotion %s goes on when it is back", oci.ErrUnavailable, id)
		}
	}
}

// failure is the error of an Errored promotion, as it was when it happened.
func (o *opened) failure() error {
	if o.State != Errored {
		return nil
	}
	for _, sentinel := range journalled {
		if o.Code == sentinel.Error() {
			return fmt.Errorf("%w: promotion %s: %s", sentinel, o.ID, o.Error)
		}
	}
	return fmt.Errorf("%w: promotion %s: %s", oci.ErrUndecidable, o.ID, o.Error)
}

// journalled are the errors that are told apart after a promotion has ended.
var journalled = [...]error{oci.ErrTagImmutable, oci.ErrConflict, oci.ErrManifestUnknown, oci.ErrUnavailable}
