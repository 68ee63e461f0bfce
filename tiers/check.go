package tiers

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"
)

// Bounds of what a check tells.
const (
	// MaxFindings is how many findings are told one by one; all are counted.
	MaxFindings = 1000
	// maxFindingBytes is how many bytes they have together, so that they fit a record.
	maxFindingBytes = 1 << 20
	// maxAffected is how many of those that one finding concerns are named.
	maxAffected = 20
)

// CheckOptions say how far a check goes.
type CheckOptions struct {
	// ReadData reads every object, or those of Subset, and compares it with its digest.
	// Manifests are always read.
	ReadData bool
	Subset   Subset // of the objects that ReadData reads; the zero value: all
	// Repair mends what can be mended without losing anything or letting anything through,
	// each fault in a transaction that compares what was read.
	Repair bool
	Actor  string // whom the events of repairs name

	// Arrivals says how an arrival stands. nil: what arrivals may leave behind is not
	// looked at, for the registry by itself does not know who brings what.
	Arrivals func(ctx context.Context, id string) (ArrivalState, error) `json:"-"`
	// Families are what the keys of records begin with that others keep, beside the
	// registry's own. nil: records of families that nobody knows are not looked for.
	Families []string `json:"-"`
	// Phases are gone through behind the registry's own or, where Alone is set, instead.
	Phases []CheckPhase `json:"-"`
	Alone  bool         `json:"-"`
}

// ArrivalState is how an arrival stands.
type ArrivalState struct {
	Open bool // somebody works on it, or will
	// If holds as long as one that is not open stays so.
	If []Condition
}

// CheckPhase is a part of a check.
type CheckPhase struct {
	Name string
	Run  func(ctx context.Context, c *Checking) error
}

// Severity says what a finding means.
type Severity string

// The severities.
const (
	Danger Severity = "danger" // bytes are lost, or would be by the next collection, or something got past a gate
	Fault  Severity = "error"  // a record is wrong: something reads as missing or as other than it is
	Info   Severity = "info"   // left over, and taken away by garbage collection or by whoever comes next
)

// Finding is something that is not as it must be. Fields that do not apply are empty.
type Finding struct {
	Invariant string   `json:"invariant"` // I1 to I9
	Kind      string   `json:"kind"`      // the name of what is wrong; names never change their meaning
	Severity  Severity `json:"severity"`

	Store      string        `json:"store,omitempty"` // the identity of the bucket
	Tier       string        `json:"tier,omitempty"`
	Repository string        `json:"repository,omitempty"`
	Key        string        `json:"key,omitempty"` // of the record, or of the object in Store
	Digest     digest.Digest `json:"digest,omitempty"`

	// Affected are the manifests, with their tags, that cannot be pulled whole because of
	// it; the first twenty.
	Affected []string `json:"affected,omitempty"`
	Message  string   `json:"message"` // what is wrong, and what that means
	Remedy   string   `json:"remedy"`  // the command, or what to do
	Repaired bool     `json:"repaired,omitempty"`
	// Problem is why it could not be repaired, where that was tried.
	Problem string `json:"problem,omitempty"`
}

// Checked is what a check has found, so far or in the end.
type Checked struct {
	Phase     string    `json:"phase"` // what is being looked at; CheckDone at the end
	StartedAt time.Time `json:"startedAt"`
	Seconds   float64   `json:"seconds"` // that it has taken

	Records   map[string]int64 `json:"records"` // looked at, by family
	Objects   int64            `json:"objects"` // in the buckets
	Bytes     int64            `json:"bytes"`   // of the objects that blobs have
	ReadBlobs int64            `json:"readBlobs"`
	ReadBytes int64            `json:"readBytes"` // read and hashed, manifests included

	Found    map[string]int64   `json:"found"`    // findings, by kind
	Severity map[Severity]int64 `json:"severity"` // findings that are not repaired, by severity
	Repaired int64              `json:"repaired"`
	// Findings are the first of them, at most MaxFindings.
	Findings []Finding `json:"findings"`
}

// CheckDone is the phase of a check that came to its end.
const CheckDone = "done"

// Sound says whether nothing was found, or is left after repair, that needs anybody:
// what garbage collection takes away anyway does not count.
func (c Checked) Sound() bool { return c.Severity[Danger] == 0 && c.Severity[Fault] == 0 }
