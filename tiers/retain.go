package tiers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Bounds of what a run tells.
const (
	maxRetainItems    = 1000
	maxRetainProblems = 100
	retainPage        = 1000 // names, tags or manifests that are read at once
)

// retentionActor is who deletes, in events, what a rule takes.
const retentionActor = "retention"

// Keeper says of a manifest of a pushed tier why something outside of the tiers needs it, an
// open promotion say; empty where nothing does.
type Keeper func(ctx context.Context, tier, repository string, d digest.Digest) (why string, err error)

// RetainOptions says how retention is to be carried out.
type RetainOptions struct {
	DryRun bool   // says what would go, and changes nothing
	Actor  string // who asked for it; the events name it beside the rule
	Keep   Keeper // what else keeps a manifest; nil: nothing
}

// What keeps something that a rule names.
const (
	KeptImmutable = "immutable"         // the tag is one that never goes
	KeptAbove     = "in a tier above"   // so the image stays here, with its tags
	KeptPromotion = "in a promotion"    // one that is open, or waits for approvals
	KeptChanged   = "changed meanwhile" // again and again; the next run looks anew
)

// Retained is what a run of retention did or, in a dry run, would do.
type Retained struct {
	Repositories int   `json:"repositories"` // that were looked at
	Tags         int   `json:"tags"`         // that went
	Manifests    int   `json:"manifests"`    // that went, referrers among them
	Referrers    int   `json:"referrers"`
	Bytes        int64 `json:"bytes"` // of these manifests, which is what quotas get back at once; blobs go by collection
	// Kept counts what a rule names and something else keeps, by the Kept… constants.
	Kept map[string]int `json:"kept,omitempty"`
	// Items are the first thousand, in the order in which they were found.
	Items []RetainItem `json:"items,omitempty"`
	// Problems are repositories that could not be gone through, the first hundred.
	Problems []string `json:"problems,omitempty"`
}

// RetainItem is a tag or manifest that goes, or that stays although a rule names it.
type RetainItem struct {
	Tier       string        `json:"tier"`
	Repository string        `json:"repository"`
	Tag        string        `json:"tag,omitempty"` // empty for a manifest
	Digest     digest.Digest `json:"digest"`        // the manifest, or where the tag points
	Rule       string        `json:"rule,omitempty"`
	Why        string        `json:"why"`
	Stays      bool          `json:"stays,omitempty"`
}

// Retain carries out the retention of all tiers that have any, or says what would go. It
// may run anywhere, any number of times at once and beside everything else: each deletion
// compares in its transaction what it was decided on.
//
// Whatever the rules say, this stays:
//   - a tag that Limits.ImmutableTags names, and its image;
//   - what stands in a tier above, in the repository of that name, visible or about to be,
//     with its tags; and what an open or waiting promotion names or has pinned;
//   - what an index names that stays, and what is attached to something that stays:
//     referrers, the tags that cosign makes of a digest, the fallback tag of the referrers
//     API. Such tags are no tags to the rules: they neither count nor go by one.
//
// An image goes with its last tag. With it goes what hung on it: the children of an index,
// and what was attached to it, where no tag and nothing else keeps them. It goes behind it,
// since evidence may be deleted only once its subject is gone; a record says so until that
// is done, and the next run goes on where one was cut off. What was pushed again within a
// day is left for a later run then, since another index may be on its way to it. A referrer
// whose subject never came, or that a client deleted, is a manifest without a tag.
//
// progress, where not nil, is called now and then with what has been done so far, and the
// same is returned with an error, which wraps oci.ErrUnavailable where a store is gone. What
// is wrong with one repository is a problem of the result and stops nothing else.
func (r *Registry) Retain(ctx context.Context, o RetainOptions, progress func(Retained)) (Retained, error) {
	run := &retention{registry: r, options: o, progress: progress, at: r.Now(), done: Retained{Kept: map[string]int{}}}
	for _, t := range r.tiers {
		if t.Retention.none() {
			continue
		}
		if err := run.tier(ctx, t); err != nil {
			return run.so(), fmt.Errorf("retention of %s: %w", t.Name, err)
		}
	}
	return run.so(), nil
}

// retention is one run.
type retention struct {
	registry *Registry
	options  RetainOptions
	progress func(Retained)
	at       time.Time // when it began: what is younger stays
	done     Retained
}

// so is what was done so far.
func (run *retention) so() Retained {
	done := run.done
	done.Kept = maps.Clone(done.Kept)
	done.Items, done.Problems = slices.Clip(done.Items), slices.Clip(done.Problems)
	return done
}

func (run *retention) tell() {
	if run.progress != nil {
		run.progress(run.so())
	}
}

func (run *retention) tier(ctx context.Context, t *Tier) error {
	for last, more := "", true; more; more = last != "" {
		names, next, err := run.registry.Repositories(ctx, t.Name, last, retainPage)
		if err != nil {
			return err
		}
		for _, name := range names {
			k, err := run.open(t, name)
			if err != nil {
				return err
			}
			if len(k.rules) == 0 && k.untagged < 0 {
				continue
			}
			err = k.retain(ctx)
			if ctx.Err() != nil || errors.Is(err, oci.ErrUnavailable) {
				return err
			}
			if err != nil {
				run.problem(k.repo, err)
			}
			run.done.Repositories++
			run.tell()
		}
		last = next
	}
	return nil
}

func (run *retention) problem(repo *Repository, err error) {
	run.registry.log.Warn("retention left a repository", "repository", repo.FullName(), "error", err)
	if len(run.done.Problems) < maxRetainProblems {
		run.done.Problems = append(run.done.Problems, fmt.Sprintf("%s: %v", repo.FullName(), err))
	}
}

// open prepares the retention of one repository.
func (run *retention) open(t *Tier, name string) (*retaining, error) {
	repo, err := run.registry.Repository(t.Name, name, retentionActor)
	if err != nil {
		return nil, err
	}
	k := &retaining{retention: run, repo: repo, above: run.registry.above(t), untagged: -1, told: map[digest.Digest]bool{}}
	for i, rule := range t.Retention.Rules {
		if !rule.covers(name) {
			continue
		}
		if rule.aboutTags() {
			k.rules = append(k.rules, i)
		}
		if rule.aboutUntagged() && k.untagged < 0 {
			k.untagged = i
		}
	}
	k.newest = make(map[int]*newest, len(k.rules))
	return k, nil
}

// above lists the tiers that artifacts rise to from t, directly or not.
func (r *Registry) above(t *Tier) []*Tier {
	var above []*Tier
	rises := map[string]bool{t.Name: true}
	for _, other := range r.tiers { // from the bottom up
		if rises[other.From] {
			rises[other.Name] = true
			above = append(above, other)
		}
	}
	return above
}

// retaining is the retention of one repository. What it holds in memory does not grow with
// the repository.
type retaining struct {
	*retention
	repo     *Repository
	above    []*Tier
	rules    []int           // that are about tags, by index
	untagged int             // the one about manifests without a tag; negative: none
	newest   map[int]*newest // of the rules that keep the last ones
	fates    fates
	// told are what a dry run has found to follow a manifest that is gone: a few.
	told map[digest.Digest]bool
}

func (k *retaining) retain(ctx context.Context) error {
	for _, step := range []func(context.Context) error{k.findNewest, k.orphans, k.tags, k.manifests} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rule names a rule, for events and items.
func (k *retaining) rule(i int) string {
	return fmt.Sprintf("retention[%d]: %s", i, k.repo.Tier.Retention.Rules[i])
}

// cause is what an event says of a deletion.
func (k *retaining) cause(why string) string {
	if k.options.Actor == "" {
		return why
	}
	return why + "; asked for by " + k.options.Actor
}

func (k *retaining) item(i RetainItem) {
	if len(k.done.Items) < maxRetainItems {
		i.Tier, i.Repository = k.repo.Tier.Name, k.repo.Name
		k.done.Items = append(k.done.Items, i)
	}
}

// kept notes what a rule names and something else keeps.
func (k *retaining) kept(i RetainItem, by *stays) {
	k.done.Kept[by.kind]++
	i.Why, i.Stays = by.why, true
	k.item(i)
}
