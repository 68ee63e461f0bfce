package tiers

import (
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
)

// CollectConfig says how long what nothing refers to stays. All times are of the registry's
// clock; 0 is the default.
type CollectConfig struct {
	// Promise is how long bytes stay from when a client was last told that they are here.
	// 0: 24 h. It is given anew once it is older than a 24th of it, and clocks of replicas
	// may differ by as much.
	Promise time.Duration
	// Drain is how long an object that was condemned stays for those who still read it. It
	// must be longer than PresignedLife where a tier redirects, by as much as clocks differ.
	// 0: 20 min.
	Drain time.Duration
	// Intent is how long an announced object may take to be recorded. 0: 24 h.
	Intent time.Duration
	// Upload is how long a session may lie idle. 0: 24 h.
	Upload time.Duration
	// Stray is how old an object must be that nothing names. 0: 24 h.
	Stray time.Duration
}

// Defaults of CollectConfig.
const (
	defaultPromise = 24 * time.Hour
	defaultDrain   = 20 * time.Minute
	defaultIntent  = 24 * time.Hour
	defaultUpload  = 24 * time.Hour
	defaultStray   = 24 * time.Hour
)

// withDefaults fills in what is 0. A negative time is an error, and so is a drain that ends
// before an address that was given to a client does.
func (c CollectConfig) withDefaults(redirects bool) (CollectConfig, error) {
	for _, field := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"promise", &c.Promise, defaultPromise}, {"drain", &c.Drain, defaultDrain}, {"intent", &c.Intent, defaultIntent},
		{"upload", &c.Upload, defaultUpload}, {"stray", &c.Stray, defaultStray},
	} {
		if *field.value < 0 {
			return c, fmt.Errorf("collection: %s is negative: leave it out for %v", field.name, field.preset)
		}
		if *field.value == 0 {
			*field.value = field.preset
		}
	}
	if redirects && c.Drain <= PresignedLife {
		return c, fmt.Errorf("collection: drain is %v: where a tier redirects, clients read from the store for %v after they asked: want more, 20m say", c.Drain, PresignedLife)
	}
	return c, nil
}

// CollectOptions says how to collect.
type CollectOptions struct {
	DryRun bool   // change nothing, and list what would go
	Actor  string // whom events name; empty: "collector"
}

// Sweep is a part of a collection.
type Sweep string

// The sweeps, in their order.
const (
	SweepUploads    Sweep = "uploads"    // sessions that clients left behind
	SweepIntents    Sweep = "intents"    // objects that were announced and never recorded
	SweepReferences Sweep = "references" // of manifests that do not exist
	SweepLinks      Sweep = "links"      // to blobs that no manifest of the repository needs
	SweepBlobs      Sweep = "blobs"      // that nothing needs
	SweepStrays     Sweep = "strays"     // objects that nothing names
	SweepMultiparts Sweep = "multiparts" // multipart uploads that nothing names
	SweepObjects    Sweep = "objects"    // condemned ones, which are deleted
)

// Bounds of what a result tells one by one.
const (
	MaxCollectItems    = 1000
	MaxCollectProblems = 100
)

// Collected is what a collection did so far, or, in a dry run, would do.
type Collected struct {
	DryRun bool `json:"dryRun,omitempty"`
	// Phase is the sweep under way; empty before the first and behind the last.
	Phase  Sweep           `json:"phase,omitempty"`
	Sweeps map[Sweep]Swept `json:"sweeps"`
	// Items are what would go and why, MaxCollectItems of them at the most. Only a dry run
	// lists them.
	Items []CollectItem `json:"items,omitempty"`
	// Problems are what could not be looked at, and so was left alone: MaxCollectProblems of
	// them at the most.
	Problems     []CollectProblem `json:"problems,omitempty"`
	ProblemCount int64            `json:"problemCount,omitempty"`
}

// Swept counts what one sweep did.
type Swept struct {
	Looked int64 `json:"looked"`          // records or objects that it looked at
	Gone   int64 `json:"gone"`            // that it took away, or condemned
	Bytes  int64 `json:"bytes,omitempty"` // of the contents that went
}

// CollectItem is something that would go.
type CollectItem struct {
	Sweep      Sweep         `json:"sweep"`
	Store      string        `json:"store,omitempty"`
	Tier       string        `json:"tier,omitempty"`
	Repository string        `json:"repository,omitempty"`
	Key        string        `json:"key,omitempty"` // of the object, or the id of the upload
	Digest     digest.Digest `json:"digest,omitempty"`
	Size       int64         `json:"size,omitempty"`
	Why        string        `json:"why"`
}

// CollectProblem is something that a sweep could not look at or take away.
type CollectProblem struct {
	Sweep   Sweep  `json:"sweep"`
	Store   string `json:"store,omitempty"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"` // what is wrong, and what to do about it
}
