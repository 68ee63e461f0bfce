package promote

import (
	"context"
	"fmt"
	"strings"

	"sluice.dev/sluice/tiers"
)

// revocationChecks is how often revocations are counted that change meanwhile.
const revocationChecks = 5

// revocations reads what is revoked and what was decided anew because of it, and compares how
// many there are with what the generation says: nothing else is looked at to know that there
// are any.
func (c *checking) revocations(ctx context.Context) error {
	for range revocationChecks {
		before, err := c.Get(ctx, revokedKey)
		if err != nil {
			return err
		}
		count := 0
		err = c.Walk(ctx, tiers.Query{Prefix: prefixRevocation}, func(page []tiers.Record) error {
			count += len(page)
			for _, record := range page {
				if err := c.revocation(ctx, record); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after, err := c.Get(ctx, revokedKey)
		if err != nil {
			return err
		}
		if after[0].Revision == before[0].Revision {
			if err := c.revoked(ctx, after[0], count); err != nil {
				return err
			}
			break
		}
	}
	if err := c.Records(ctx, "redecisions", prefixRedeciding, func(page []tiers.Record) error { return c.redeciding(ctx, page) }); err != nil {
		return err
	}
	return c.Records(ctx, "artifacts decided anew", prefixRedecided, func(page []tiers.Record) error { return c.redecided(ctx, page) })
}

func (c *checking) revocation(ctx context.Context, record tiers.Record) error {
	about := tiers.Finding{Remedy: "restore it from a backup of the catalog, or by its event in the ledger: until then nothing is decided"}
	_, _, err := tiers.CheckRecord(ctx, c.Checking, record, about, func(r Revocation) error {
		if prefixRevocation+r.ID != record.Key {
			return fmt.Errorf("it says of itself that it is revocation %q", r.ID)
		}
		return nil
	})
	return err
}

// revoked looks whether the generation counts so many revocations.
func (c *checking) revoked(ctx context.Context, record tiers.Record, count int) error {
	var generation revokedRecord
	f := tiers.Finding{Kind: KindRevocationCount, Severity: tiers.Danger, Key: revokedKey,
		Remedy: "sluice fsck --repair   # writes what was counted, and every replica looks again at what is revoked"}
	if record.Revision != 0 {
		var err error
		if generation, err = tiers.Decode[revokedRecord](record); err != nil {
			f.Message, generation.Count = "the generation of the revocations cannot be read: nothing can be decided", -1
		}
	}
	switch {
	case generation.Count == count:
		return nil
	case record.Revision == 0:
		f.Message = fmt.Sprintf("the generation of %d revocations is missing: none of them is in force", count)
	case f.Message == "":
		f.Severity, f.Message = tiers.Fault, fmt.Sprintf("the generation of the revocations counts %d, and there are %d", generation.Count, count)
	}
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, tiers.Change{If: []tiers.Condition{tiers.Unchanged(record)},
			Put: []tiers.Put{{Key: revokedKey, Value: tiers.Encode(revokedRecord{Count: count})}}})
	})
}

// redeciding looks for redecisions that nobody can carry out.
func (c *checking) redeciding(ctx context.Context, page []tiers.Record) error {
	for _, record := range page {
		about := tiers.Finding{Remedy: "delete the record, and lift the revocation and revoke anew: that decides all again"}
		_, ok, err := tiers.CheckRecord[Redecision](ctx, c.Checking, record, about, nil)
		if err != nil {
			return err
		}
		if ok {
			if err := c.ofRevocation(ctx, record, strings.TrimPrefix(record.Key, prefixRedeciding)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checking) redecided(ctx context.Context, page []tiers.Record) error {
	for _, record := range page {
		name := strings.TrimPrefix(record.Key, prefixRedecided)
		id, _, _ := strings.Cut(name, "/")
		_, ok, err := tiers.CheckRecord(ctx, c.Checking, record, tiers.Finding{Remedy: "delete the record: its event is in the ledger"}, func(r Redecided) error {
			if redecidedKey(id, r.Tier, r.Repository, r.Digest) != record.Key {
				return fmt.Errorf("it says of itself that it is %s/%s@%s", r.Tier, r.Repository, r.Digest)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if ok {
			if err := c.ofRevocation(ctx, record, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofRevocation looks whether the revocation exists that a record is about.
func (c *checking) ofRevocation(ctx context.Context, record tiers.Record, id string) error {
	records, err := c.Get(ctx, record.Key, prefixRevocation+id)
	if err != nil || records[0].Revision == 0 || records[1].Revision != 0 {
		return err
	}
	f := tiers.Finding{Invariant: "I6", Kind: KindRedecisionOrphan, Severity: tiers.Fault,
		Message: fmt.Sprintf("it is about revocation %q, which does not exist", id)}
	return c.delete(ctx, f, records[0], tiers.Unchanged(records[1]))
}
