package policy

import (
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// Facts are what a policy is evaluated over. Evaluation reads nothing else: no clock, no
// network, no store.
type Facts struct {
	Repository string // without the tier
	Digest     digest.Digest
	MediaType  string
	Now        time.Time
	// Platforms are the platform images of a multi-platform index that need evidence of
	// their own under scope each; what is exempt by content (attestation manifests, whose
	// layers are all in-toto) is left out. Empty for an artifact that is no index.
	Platforms []Platform
	// Evidence is everything attached to the artifact and to its platforms.
	Evidence []attest.Evidence
	// Reference is how a person names the artifact, host/tier/repository[:tag]@digest;
	// remedies are commands about it.
	Reference string
	// Registry is what the registry is called and how its tiers stand above each other.
	Registry Registry
	// Standing are the tiers, from the bottom up, in which the manifests stand that
	// Policy.Dependencies names. One that was looked for and not found has an empty list.
	Standing map[Dependency][]string
}

// Platform is one image of a multi-platform index.
type Platform struct {
	Digest digest.Digest `json:"digest"`
	Name   string        `json:"platform"` // linux/arm64
}

// Verdict is what a policy says of an artifact, rule by rule.
type Verdict struct {
	Allowed     bool      `json:"allowed"`
	Policy      Identity  `json:"policy"`
	EvaluatedAt time.Time `json:"evaluatedAt"`
	Rules       []Rule    `json:"rules"`
}

// Identity names a policy by content; the digest covers its trust.
type Identity struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
}

// Rule is the outcome of one requirement.
type Rule struct {
	Name    string `json:"name"`
	Mode    Mode   `json:"mode"`
	Allowed bool   `json:"allowed"`
	// Message says what satisfied the rule, or exactly what is missing or which
	// condition failed on which attestation.
	Message string `json:"message"`
	// Remedy is the command that would supply what is missing; empty where allowed.
	Remedy string `json:"remedy,omitempty"`
	// Awaits is "approval" where the rule says no and approvals alone would satisfy it.
	Awaits   string `json:"awaits,omitempty"`
	Evidence []Used `json:"evidence"` // what satisfied the rule
	// Exceptions are those that the rule made use of.
	Exceptions []UsedException `json:"exceptions,omitempty"`
	// Unlisted is how many more attestations and exceptions there are, where the verdict is
	// kept and lists only the first.
	Unlisted int `json:"unlisted,omitempty"`
	// BuildLevel is the SLSA build level of the artifact by this rule; 0 where it asks for
	// none or is not satisfied.
	BuildLevel int `json:"buildLevel,omitempty"`
}

// Used is an attestation that a rule counted.
type Used struct {
	Digest        digest.Digest `json:"digest"`
	Subject       digest.Digest `json:"subject"`
	PredicateType string        `json:"predicateType"`
	Authority     string        `json:"authority"`
	Signer        string        `json:"signer"` // the key id
}

// Mode is how a rule's no is taken.
type Mode string

// The modes of a rule.
const (
	Enforce Mode = "enforce" // no means no
	Warn    Mode = "warn"    // no is reported and lets pass
	Off     Mode = "off"     // not evaluated
)
