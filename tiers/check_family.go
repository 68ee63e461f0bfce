package tiers

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// familyPage is how many keys are read at once to find out which families there are.
const familyPage = 100

// checkFamilies looks for records of families that nobody knows: one that was restored or
// written by hand under a wrong key, or that another version has left. Families are jumped
// over, so it costs a few reads of each.
func (c *Checking) checkFamilies(ctx context.Context) error {
	if c.options.Families == nil {
		return nil
	}
	others := slices.Concat(families(""), c.options.Families)
	for after := ""; ; {
		var page []Record
		err := c.patiently(ctx, func() (err error) {
			page, err = c.registry.catalog.List(ctx, Query{After: after, Limit: familyPage, KeysOnly: true})
			return err
		})
		if err != nil {
			return fmt.Errorf("list all records: %w", err)
		}
		for _, record := range page {
			if record.Key <= after {
				continue // of a family that was jumped over
			}
			after = record.Key
			family := familyOf(record.Key, others)
			if strings.HasSuffix(family, "/") {
				after = max(after, family+"\U0010ffff") // behind all of it
			}
			if err := c.checkFamily(ctx, record, family); err != nil {
				return err
			}
		}
		if len(page) < familyPage {
			return ctx.Err()
		}
	}
}

// familyOf is what all keys of a record's family begin with, or its key where there is one
// of it; empty where nobody knows the family.
func familyOf(key string, others []string) string {
	for _, of := range []struct {
		prefix string
		known  []string
	}{{"store/", families("store/*/")}, {"tier/", families("tier/*/")}} {
		rest, ok := strings.CutPrefix(key, of.prefix)
		if !ok {
			continue
		}
		name, rest, _ := strings.Cut(rest, "/")
		if i := slices.IndexFunc(of.known, func(family string) bool { return strings.HasPrefix(rest, family) }); i >= 0 {
			return of.prefix + name + "/" + of.known[i]
		}
		return ""
	}
	i := slices.IndexFunc(others, func(family string) bool {
		return key == family || strings.HasSuffix(family, "/") && strings.HasPrefix(key, family)
	})
	if i < 0 {
		return ""
	}
	return others[i]
}

// checkFamily reports a record of no family, and one of a tier or store that this
// configuration does not have: it is kept as it is, and so nobody knows whether it is right.
func (c *Checking) checkFamily(ctx context.Context, record Record, family string) error {
	if family == "" {
		return c.unknown(ctx, record, "the record is of no family that this version knows: nothing reads it, and nothing takes it away")
	}
	kind, rest, _ := strings.Cut(family, "/")
	name, _, _ := strings.Cut(rest, "/")
	switch {
	case kind == "tier" && c.registry.find(name) == nil:
		return c.notConfigured(ctx, Finding{Tier: name, Key: "tier/" + name + "/"})
	case kind == "store" && !slices.ContainsFunc(c.stores, func(s *checkStore) bool { return s.id == name }):
		return c.notConfigured(ctx, Finding{Store: name, Key: "store/" + name + "/"})
	}
	return nil
}

// unknown reports a record that is not known for anything, if it is still there.
func (c *Checking) unknown(ctx context.Context, record Record, says string) error {
	now, err := c.Get(ctx, record.Key)
	if err != nil || now[0].Revision == 0 {
		return err
	}
	return c.Found(ctx, Finding{Invariant: "I8", Kind: KindRecordUnknown, Severity: Fault, Key: record.Key, Message: says,
		Remedy: "find out who wrote it: a newer version of the registry, which is then the one to check with, or somebody by hand, who may delete it"}, nil)
}

func (c *Checking) notConfigured(ctx context.Context, f Finding) error {
	f.Kind, f.Severity = KindNotConfigured, Info
	f.Message = fmt.Sprintf("the catalog has records under %s, and nothing of that is configured here: they are kept, and were not looked at", f.Key)
	f.Remedy = "check with a server that has it in its configuration; a tier or bucket that was given another name or address is another one"
	return c.Found(ctx, f, nil)
}
