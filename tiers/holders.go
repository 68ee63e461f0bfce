package tiers

import (
	"context"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Holders lists d and what holds it now, in whatever tier: the manifests that need the bytes
// of d, and the indexes that these are in, however deep. What is attached to something does
// not hold it. More than most are an error that wraps oci.ErrRequestInvalid: an answer that
// left some out would pass for a whole one.
func (r *Registry) Holders(ctx context.Context, d digest.Digest, most int) ([]digest.Digest, error) {
	all, known := []digest.Digest{d}, map[digest.Digest]bool{d: true}
	for i := 0; i < len(all); i++ {
		for _, p := range r.places() {
			holders, err := r.heldBy(ctx, p.store, all[i], most)
			if err != nil {
				return nil, err
			}
			for _, holder := range holders {
				if !known[holder] {
					known[holder] = true
					all = append(all, holder)
				}
			}
			if len(all) > most {
				return nil, tooManyHolders(d, most)
			}
		}
	}
	return all, nil
}

// heldBy lists the manifests that need the bytes of d in a store.
func (r *Registry) heldBy(ctx context.Context, store string, d digest.Digest, most int) (holders []digest.Digest, err error) {
	prefix := storePrefix(store, "ref")
	q := Query{Prefix: refPrefix(store, d), Limit: collectPage, KeysOnly: true}
	for {
		page, err := r.catalog.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("what holds %s: %w", d, err)
		}
		for _, record := range page {
			ref, ok := parseReference(prefix, record.Key)
			if ok && ref.manifest != d {
				holders = append(holders, ref.manifest)
			}
		}
		if len(page) < q.Limit {
			return holders, nil
		}
		// One manifest may hold it in many repositories.
		slices.Sort(holders)
		if holders = slices.Compact(holders); len(holders) > most {
			return nil, tooManyHolders(d, most)
		}
		q.After = page[len(page)-1].Key
	}
}

func tooManyHolders(d digest.Digest, most int) error {
	return fmt.Errorf("%w: more than %d manifests hold %s: ask for those that matter", oci.ErrRequestInvalid, most, d)
}
