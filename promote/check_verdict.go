package promote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

const (
	// checkWindow is how many manifests and promotions are compared with the documents of
	// promotions at once; for more, the documents are read again.
	checkWindow = 50_000
	// checkDocuments is how many documents are read at once, and maxDocument how large one
	// may be, in bytes.
	checkDocuments = 2
	maxDocument    = 256 << 20
)

// place is a manifest in a repository of a tier.
type place struct {
	tier, repository string
	digest           digest.Digest
}

// verdictCheck compares a part of what stands above with the documents that say why.
//
// What stands above is listed first, and then the documents are: a manifest becomes visible
// in the transaction that keeps the document, so there is one for all that was listed.
type verdictCheck struct {
	*checking
	first bool // the documents are looked at themselves, too

	mu         sync.Mutex
	standing   map[place]bool
	promotions map[string]bool // that have brought something, by id
	// unclear are repositories, with their tiers, of which a document cannot be read: nobody
	// knows what it vouches for. all says so of every repository.
	unclear map[string]bool
	all     bool
}

// verdicts looks whether everything that can be seen above the tiers that are pushed to was
// let through.
func (c *checking) verdicts(ctx context.Context) error {
	v := &verdictCheck{checking: c, first: true, unclear: map[string]bool{}}
	next := cursor{tiers: c.above()}
	for more := true; more; v.first = false {
		var err error
		if more, err = v.window(ctx, &next); err != nil {
			return err
		}
		if err := v.documents(ctx); err != nil {
			return err
		}
		if err := v.missing(ctx); err != nil {
			return err
		}
		if err := v.unvouched(ctx); err != nil {
			return err
		}
	}
	return nil
}

// above are the tiers that only promotion fills.
func (c *checking) above() []*tiers.Tier {
	return slices.DeleteFunc(c.engine.registry.Tiers(), func(t *tiers.Tier) bool { return t.From == "" })
}

// cursor is how far the windows have come.
type cursor struct {
	tiers      []*tiers.Tier // what is left of them
	manifest   string
	promotion  string
	promotions bool // all were looked at
}

// window lists what is compared next and says whether there is more behind it.
func (v *verdictCheck) window(ctx context.Context, next *cursor) (more bool, err error) {
	v.standing, v.promotions = map[place]bool{}, map[string]bool{}
	for len(next.tiers) > 0 && len(v.standing) < checkWindow {
		t := next.tiers[0]
		page, after, err := v.Visible(ctx, t, next.manifest, checkWindow-len(v.standing))
		if err != nil {
			return false, err
		}
		for _, m := range page {
			v.standing[place{t.Name, m.Repository, m.Digest}] = true
		}
		if next.manifest = after; after == "" {
			next.tiers = next.tiers[1:]
		}
	}
	if !next.promotions {
		if next.promotions, err = v.brought(ctx, next); err != nil {
			return false, err
		}
	}
	return len(next.tiers) > 0 || !next.promotions, nil
}

// brought lists the promotions of the window that have brought something, and says whether
// there are no more behind them.
func (v *verdictCheck) brought(ctx context.Context, next *cursor) (all bool, err error) {
	err = v.Walk(ctx, tiers.Query{Prefix: prefixPromotion, After: next.promotion}, func(page []tiers.Record) error {
		if len(v.promotions) >= checkWindow {
			return errFull
		}
		for _, record := range page {
			next.promotion = record.Key
			j, err := tiers.Decode[journal](record)
			if o := (opened{journal: j}); err == nil && o.arrived() {
				v.promotions[j.ID] = true
			}
		}
		return nil
	})
	if errors.Is(err, errFull) {
		return false, nil
	}
	return err == nil, err
}

// errFull says that a window has all that it can hold.
var errFull = errors.New("the window is full")

// documents reads the document of every promotion that brought something.
func (v *verdictCheck) documents(ctx context.Context) error {
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(checkDocuments)
	asked := map[string]bool{}
	var err error
	for _, t := range v.engine.registry.Tiers() {
		if asked[t.Store()] {
			continue
		}
		asked[t.Store()] = true
		err = v.Kept(ctx, t, func(d digest.Digest, id string) error {
			group.Go(func() error {
				return v.engine.guarded(groupCtx, func() error { return v.document(groupCtx, t, d, id) })
			})
			return groupCtx.Err()
		})
		if err != nil {
			break
		}
	}
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// document takes from the windows what a document vouches for.
func (v *verdictCheck) document(ctx context.Context, t *tiers.Tier, d digest.Digest, id string) error {
	record, j, ok, err := v.readJournal(ctx, id)
	if err != nil {
		return err
	}
	if !ok {
		v.unknown(place{})
		if record.Revision != 0 {
			return nil // reported with the journals
		}
		f := tiers.Finding{Invariant: "I4", Kind: KindPromotionRecord, Severity: tiers.Fault, Store: t.Store(), Key: prefixPromotion + id, Digest: d,
			Message: fmt.Sprintf("the document %s is kept of what promotion %s brought, and there is no such promotion", d, id),
			Remedy:  "restore the promotion's record from a backup of the catalog: without it nothing says why it was let through"}
		return v.Found(ctx, f, nil)
	}
	at := place{tier: j.To, repository: j.Repository}
	body, ok, err := v.Content(ctx, t, d, maxDocument)
	if err != nil {
		return err
	}
	if !ok {
		v.unknown(at)
		v.seen(id)
		return v.documentMissing(ctx, t, d, j)
	}
	var doc Record
	if err := json.Unmarshal(body, &doc); err != nil || doc.Promotion != id {
		v.seen(id)
		return v.contradicts(ctx, j, fmt.Sprintf("the document %s of what it brought is not one of it", d))
	}
	if t.Store() == v.storeOf(j.To) {
		v.seen(id)
		v.vouch(j, doc)
	}
	if !v.first {
		return nil
	}
	return v.checkDocument(ctx, t, j, doc)
}

func (v *verdictCheck) storeOf(tier string) string {
	t, err := v.engine.registry.Tier(tier)
	if err != nil {
		return ""
	}
	return t.Store()
}

func (v *verdictCheck) seen(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.promotions, id)
}

// unknown says that nobody knows what was let through in a repository, or, of the zero
// place, in any.
func (v *verdictCheck) unknown(at place) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if at == (place{}) {
		v.all = true
	}
	v.unclear[at.tier+"/"+at.repository] = true
}

// vouch takes from the window what a promotion let through. Of one that the policy refused
// that is evidence alone, which is looked at with its document; one that succeeded without a
// verdict is reported itself.
func (v *verdictCheck) vouch(j journal, doc Record) {
	o := opened{journal: j}
	if !o.arrived() {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range digestsOf(doc) {
		delete(v.standing, place{j.To, j.Repository, d})
	}
	if j.State == Succeeded {
		delete(v.standing, place{j.To, j.Repository, j.Digest})
	}
}

func digestsOf(doc Record) []digest.Digest {
	all := make([]digest.Digest, len(doc.Manifests))
	for i, m := range doc.Manifests {
		all[i] = m.Digest
	}
	return all
}

// contradicts reports a document that says other than the promotion.
func (v *verdictCheck) contradicts(ctx context.Context, j journal, says string) error {
	v.unknown(place{tier: j.To, repository: j.Repository})
	f := about(j, "I4", KindPromotionRecord, tiers.Fault)
	f.Message = fmt.Sprintf("of promotion %s, %s: what it brought to %s cannot be told from it", j.ID, says, j.To)
	f.Remedy = fmt.Sprintf("see what the event of the promotion says, and promote %s again", j.Digest)
	return v.Found(ctx, f, nil)
}

// documentMissing reports a document without a record of its bytes. One whose bytes are bad
// was reported as such, and one that a later check cannot read is.
func (v *verdictCheck) documentMissing(ctx context.Context, t *tiers.Tier, d digest.Digest, j journal) error {
	records, err := v.Get(ctx, v.engine.registry.HasBytes(t, d).Key)
	if err != nil || records[0].Revision != 0 {
		return err
	}
	f := about(j, "I4", KindRecordMissing, tiers.Danger)
	f.Store, f.Digest = t.Store(), d
	f.Message = fmt.Sprintf("the document %s of what promotion %s brought to %s is not in the store: nothing proves what was let through, and the catalog cannot be rebuilt from its event", d, j.ID, j.To)
	f.Remedy = "restore the object from a backup of the bucket, and check again"
	return v.Found(ctx, f, nil)
}

// missing reports promotions of the window of whose changes no document is kept.
func (v *verdictCheck) missing(ctx context.Context) error {
	for id := range v.promotions {
		_, j, ok, err := v.readJournal(ctx, id)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		v.unknown(place{tier: j.To, repository: j.Repository})
		f := about(j, "I4", KindRecordMissing, tiers.Danger)
		f.Message = fmt.Sprintf("nothing keeps the document of what promotion %s brought to %s: the next collection may take it, and nothing proves then what was let through", id, j.To)
		f.Remedy = "sluice fsck --repair   # keeps it again, as long as the event that names it is not sealed; else restore the reference from a backup of the catalog"
		if err := v.Found(ctx, f, nil); err != nil {
			return err
		}
	}
	return nil
}

// unvouched reports manifests of the window that no promotion let through.
func (v *verdictCheck) unvouched(ctx context.Context) error {
	for at := range v.standing {
		if v.all || v.unclear[at.tier+"/"+at.repository] {
			continue
		}
		own, err := v.ownWrite(ctx, at)
		if err != nil {
			return err
		}
		if own {
			continue
		}
		repository, err := v.engine.registry.Repository(at.tier, at.repository, "")
		if err != nil {
			continue // reported with the manifests: no client can ask for it
		}
		if _, err := repository.Resolve(ctx, at.digest.String()); errors.Is(err, oci.ErrManifestUnknown) {
			continue
		} else if err != nil {
			return err
		}
		f := tiers.Finding{Invariant: "I4", Kind: KindManifestUnvouched, Severity: tiers.Danger, Tier: at.tier, Repository: at.repository, Digest: at.digest,
			Affected: []string{at.tier + "/" + at.repository + "@" + at.digest.String()},
			Message: fmt.Sprintf("no promotion let %s rise to %s/%s, by itself or with what it belongs to: it got past the gate, or the record of the promotion is lost",
				at.digest, at.tier, at.repository),
			Remedy: fmt.Sprintf("find out how it came there; if it may stand, sluice promote HOST/%s/%s@%s --to %s has the policy decide about it; until then nobody should deploy it", v.below(at.tier), at.repository, at.digest, at.tier)}
		if err := v.Found(ctx, f, nil); err != nil {
			return err
		}
	}
	return nil
}

func (v *verdictCheck) below(tier string) string {
	t, err := v.engine.registry.Tier(tier)
	if err != nil {
		return ""
	}
	return t.From
}

// joined lists some digests.
func joined(digests []digest.Digest) string {
	var names []string
	for _, d := range digests[:min(len(digests), 3)] {
		names = append(names, d.String())
	}
	if len(digests) > 3 {
		names = append(names, fmt.Sprintf("and %d more", len(digests)-3))
	}
	return strings.Join(names, ", ")
}
