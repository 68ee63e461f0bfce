package tiers

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// pushLife is how long a push may take to write its references.
const pushLife = time.Hour

// heldBy is a key of the family that says who needs bytes.
type heldBy struct {
	digest   digest.Digest
	kind     string // of what is no repository: .manifest, .pin, .record, .pulls
	tier     string
	repo     string
	manifest digest.Digest // that needs the bytes
	id       string        // of a pin, an event or a segment of pulls
}

// kindPulls is the kind of reference that keeps the bytes of a segment of pulls, and
// prefixPulls where its record stands.
const (
	kindPulls   = ".pulls"
	prefixPulls = "pulls/"
)

// cutReference reads what stands behind store/<store>/ref/.
func cutReference(name string) (r heldBy, ok bool) {
	text, rest, _ := strings.Cut(name, "/")
	d, err := oci.ParseDigest(text)
	if err != nil {
		return r, false
	}
	r.digest = d
	first, rest, ok := strings.Cut(rest, "/")
	if !ok || rest == "" {
		return r, false
	}
	switch first {
	case ".pin", ".record", kindPulls:
		r.kind, r.id = first, rest
		return r, true
	case ".manifest":
		r.kind, r.manifest = first, d
		r.tier, r.repo, ok = strings.Cut(rest, "/")
		return r, ok && r.repo != ""
	}
	if strings.HasPrefix(first, ".") {
		return r, true // a kind that is not known here
	}
	repo, manifest, more, ok := cutKey(rest)
	r.tier, r.repo, r.manifest = first, repo, manifest
	return r, ok && more == ""
}

// checkReferences looks for references of what does not exist.
func (c *Checking) checkReferences(ctx context.Context, s *checkStore) error {
	prefix := "store/" + s.id + "/ref/"
	return c.Records(ctx, "references", prefix, func(page []Record) error {
		return c.groups(ctx, page, func(ctx context.Context, group []Record) error { return c.checkReferenceGroup(ctx, s, prefix, group) })
	})
}

func (c *Checking) checkReferenceGroup(ctx context.Context, s *checkStore, prefix string, group []Record) error {
	var keys []string
	for _, record := range group {
		r, ok := cutReference(strings.TrimPrefix(record.Key, prefix))
		switch {
		case !ok:
			if err := c.orphan(ctx, s, r, record, "its key does not read as a reference", Fault, nil); err != nil {
				return err
			}
		case r.kind == ".pin":
			if err := c.checkPin(ctx, s, r, record); err != nil {
				return err
			}
		case r.kind == kindPulls:
			if err := c.checkPulls(ctx, s, r, record); err != nil {
				return err
			}
		case r.kind == ".record": // kept for an event: who brought what is known to others
		case r.tier == "":
			says := fmt.Sprintf("the record keeps the bytes of %s for a reason that this version does not know: they stay", r.digest)
			if err := c.unknown(ctx, record, says); err != nil {
				return err
			}
		case c.registry.find(r.tier) == nil:
			if err := c.notConfigured(ctx, Finding{Tier: r.tier, Key: "tier/" + r.tier + "/"}); err != nil {
				return err
			}
		default:
			keys = append(keys, record.Key, manifestKey(r.tier, r.repo, r.manifest), pushingKey(r.tier, r.repo, r.manifest))
		}
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := c.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i := 0; i < len(records); i += 3 {
		ref, manifest, pushing := records[i], records[i+1], records[i+2]
		if ref.Revision == 0 || manifest.Revision != 0 {
			continue
		}
		r, _ := cutReference(strings.TrimPrefix(ref.Key, prefix))
		if err := c.checkOrphan(ctx, s, r, ref, manifest, pushing); err != nil {
			return err
		}
	}
	return nil
}

// checkPulls looks whether the segment is there that the bytes are kept for. Both come and go
// in one transaction.
func (c *Checking) checkPulls(ctx context.Context, s *checkStore, r heldBy, ref Record) error {
	now, err := c.Get(ctx, ref.Key, prefixPulls+r.id)
	if err != nil || now[0].Revision == 0 || now[1].Revision != 0 {
		return err
	}
	says := fmt.Sprintf("it keeps %s for the pulls of %s, of which there is no record", r.digest, r.id)
	return c.orphan(ctx, s, r, now[0], says, Fault, []Condition{Absent(now[1].Key)})
}

// checkOrphan judges a reference of a manifest that does not exist. One to itself comes and
// goes with the manifest. One to others may be written before the manifest: by a push, which
// leaves a marker meanwhile, or by an arrival, which keeps a journal.
func (c *Checking) checkOrphan(ctx context.Context, s *checkStore, r heldBy, ref, manifest, pushing Record) error {
	says := fmt.Sprintf("it keeps %s for the manifest %s of %s/%s, which does not exist", r.digest, r.manifest, r.tier, r.repo)
	gone := []Condition{Absent(manifest.Key), Absent(pushing.Key)}
	push := c.registry.find(r.tier).Push
	switch {
	case r.kind != "":
		return c.orphan(ctx, s, r, ref, says, Fault, gone)
	case push && pushing.Revision == 0: // the deletion of a large manifest leaves some by design
		return c.orphan(ctx, s, r, ref, says, Info, gone)
	case push:
		return c.Later(ctx, func(ctx context.Context) error { return c.interrupted(ctx, s, r, ref, manifest, pushing) })
	}
	return c.Later(ctx, func(ctx context.Context) error {
		staged, err := c.isStaged(ctx, r.manifest)
		if err != nil || staged {
			return err
		}
		now, err := c.Get(ctx, ref.Key, manifest.Key)
		if err != nil || now[0].Revision != ref.Revision || now[1].Revision != 0 {
			return err
		}
		return c.orphan(ctx, s, r, ref, says, Fault, gone)
	})
}

// orphan reports a reference of nothing.
func (c *Checking) orphan(ctx context.Context, s *checkStore, r heldBy, ref Record, says string, severity Severity, gone []Condition) error {
	f := Finding{Invariant: "I8", Kind: KindReferenceOrphan, Severity: severity, Store: s.id, Tier: r.tier, Repository: r.repo,
		Key: ref.Key, Digest: r.digest, Message: says + ": bytes are kept for ever that nobody needs", Remedy: "sluice fsck --repair   # deletes the reference"}
	if severity == Info {
		f.Remedy = "sluice gc   # deletes the reference"
	}
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, Change{If: append([]Condition{Unchanged(ref)}, gone...), Delete: []string{ref.Key}})
	})
}

// interrupted reports the marker of a push that wrote references and has written nothing
// since. The next push of the manifest, and garbage collection, take up or take away both.
func (c *Checking) interrupted(ctx context.Context, s *checkStore, r heldBy, ref, manifest, pushing Record) error {
	now, err := c.Get(ctx, ref.Key, manifest.Key, pushing.Key)
	if err != nil || now[0].Revision != ref.Revision || now[1].Revision != 0 || now[2].Revision != pushing.Revision {
		return err
	}
	var begun pushingRecord
	if len(pushing.Value) > 0 {
		if begun, err = Decode[pushingRecord](pushing); err != nil {
			return nil // reported where the family is read
		}
	}
	if c.registry.Now().Sub(begun.StartedAt) < pushLife {
		return nil // it may go on
	}
	f := Finding{Invariant: "I8", Kind: KindPushInterrupted, Severity: Info, Store: s.id, Tier: r.tier, Repository: r.repo, Key: pushing.Key, Digest: r.manifest,
		Message: fmt.Sprintf("a push of %s to %s/%s began to write its references and was cut off", r.manifest, r.tier, r.repo),
		Remedy:  "push it again, or sluice gc   # takes the references away"}
	return c.Found(ctx, f, nil)
}

// isStaged says whether the journal of any arrival tells of a manifest, or did a moment ago.
func (c *Checking) isStaged(ctx context.Context, d digest.Digest) (staged bool, err error) {
	if c.staged == d {
		return true, nil
	}
	err = c.Walk(ctx, Query{Prefix: "staged/"}, func(page []Record) error {
		for _, record := range page {
			if entry, err := Decode[stagedRecord](record); err == nil && entry.tellsOf(d) {
				staged, c.staged = true, d // most suspects are of one large manifest
			}
		}
		return nil
	})
	return staged, err
}
