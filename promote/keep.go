package promote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// An artifact that is asked to rise is held where it stands, from the transaction that
// records the request until the promotion has ended: the journal pins it. What is pinned
// does not go by retention, which compares that in its own transactions. So a promotion is
// begun for an artifact that is there and stays, or not at all. What hangs on the artifact,
// retention leaves for its sake; clients may still delete it.

// held is the key of that pin; none where the tier is not there any more.
func (e *Engine) held(o *opened) []string {
	from, err := e.registry.Tier(o.From)
	if err != nil {
		return nil
	}
	return []string{from.PinKey(o.Digest, o.ID)}
}

// hold adds the pin to the change that records a request.
func (e *Engine) hold(o *opened, change tiers.Change) tiers.Change {
	for _, key := range e.held(o) {
		change.Put = append(change.Put, tiers.Put{Key: key})
	}
	source, err := e.registry.Repository(o.From, o.Repository, o.RequestedBy)
	if err == nil {
		change.If = append(change.If, source.HasManifest(o.Digest))
	}
	return change
}

// unheld is the error of a request whose artifact went before it was recorded.
func (e *Engine) unheld(o *opened, err error) error {
	var conflict *tiers.ConflictError
	source, invalid := e.registry.Repository(o.From, o.Repository, o.RequestedBy)
	if !errors.As(err, &conflict) || invalid != nil || !conflict.Has(source.HasManifest(o.Digest).Key) {
		return err
	}
	return fmt.Errorf("%w: %s@%s", oci.ErrManifestUnknown, source.FullName(), o.Digest)
}

// Keeper says which manifests open and waiting promotions name, to whoever carries out
// retention: one Keeper for one run. They are listed once, when it is first asked; what
// begins later is held by its pin.
func (e *Engine) Keeper() tiers.Keeper {
	var mu sync.Mutex
	var named map[string]string
	return func(ctx context.Context, tier, repository string, d digest.Digest) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if named == nil {
			found, err := e.named(ctx)
			if err != nil {
				return "", err
			}
			named = found
		}
		return named[tier+"/"+repository+"@"+d.String()], nil
	}
}

// named lists the manifests that promotions name which have not ended, with what there is to
// say of it. One that begins or ends to wait meanwhile is found on either list.
func (e *Engine) named(ctx context.Context) (map[string]string, error) {
	named := map[string]string{}
	for _, prefix := range []string{prefixOpen, prefixWaiting, prefixOpen} {
		for after := ""; ; {
			records, err := e.registry.Catalog().List(ctx, tiers.Query{Prefix: prefix, After: after, Limit: waitingPage, KeysOnly: true})
			if err != nil {
				return nil, fmt.Errorf("list open promotions: %w", err)
			}
			for _, record := range records {
				after = record.Key
				id := strings.TrimPrefix(record.Key, prefix)
				if err := e.names(ctx, id[strings.LastIndex(id, "@")+1:], named); err != nil {
					return nil, err
				}
			}
			if len(records) < waitingPage {
				break
			}
		}
	}
	return named, nil
}

func (e *Engine) names(ctx context.Context, id string, named map[string]string) error {
	o, err := e.open(ctx, id)
	if errors.Is(err, oci.ErrPromotionUnknown) || err == nil && o.State.Terminal() {
		return nil
	}
	if err != nil {
		return err
	}
	what := "is under way"
	if o.waits() {
		what = "waits for approvals"
	}
	named[o.From+"/"+o.Repository+"@"+o.Digest.String()] = fmt.Sprintf("promotion %s to %s %s", o.ID, o.To, what)
	return nil
}
