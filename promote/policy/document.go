package policy

import (
	"encoding/json"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// The only version and kind of document that loads.
const (
	APIVersion = "sluice.dev/v1alpha1"
	Kind       = "TierPolicy"
)

// Document is a policy as it is written. After Load all defaults are filled in and every
// key, root and certificate is inlined.
type Document struct {
	APIVersion string   `json:"apiVersion" yaml:"apiVersion"`
	Kind       string   `json:"kind" yaml:"kind"`
	Metadata   Metadata `json:"metadata" yaml:"metadata"`
	Spec       Spec     `json:"spec" yaml:"spec"`
}

// Metadata names a policy.
type Metadata struct {
	Name string `json:"name" yaml:"name"`
}

// Spec is what a policy says.
type Spec struct {
	From string `json:"from" yaml:"from"` // the tier that artifacts come from
	To   string `json:"to" yaml:"to"`     // the tier that they want into
	// Repositories are globs over names without their tier; ** crosses slashes. All by
	// default.
	Repositories []string        `json:"repositories" yaml:"repositories"`
	Carry        Carry           `json:"carry" yaml:"carry"`
	Authorities  []AuthoritySpec `json:"authorities" yaml:"authorities"`
	Require      []Requirement   `json:"require" yaml:"require"`
	// Exceptions says whose exceptions are accepted, and from which rules. None by default.
	Exceptions *ExceptionsSpec `json:"exceptions,omitempty" yaml:"exceptions"`
	// Freeze lists times at which nothing rises.
	Freeze []FreezeSpec `json:"freeze,omitempty" yaml:"freeze"`
	// OnRevoked says what becomes of an artifact in the tier that would no longer pass because
	// evidence of it was revoked: it is reported, which is the default, or put in quarantine too.
	OnRevoked OnRevoked `json:"onRevoked,omitempty" yaml:"onRevoked"`
}

// OnRevoked is what becomes of an artifact whose evidence was revoked.
type OnRevoked string

// What may become of it.
const (
	Report     OnRevoked = "report"
	Quarantine OnRevoked = "quarantine"
)

// AuthoritySpec is somebody whose signature the policy accepts.
type AuthoritySpec struct {
	Name string `json:"name" yaml:"name"`
	// Principal is who acts under the name; the name itself by default. Authorities of
	// one principal, an old key and its successor say, count once towards a threshold.
	Principal string `json:"principal" yaml:"principal"`
	// An authority signs with one key, keyless, with certificates of an X.509 authority, or with notation.
	Key     KeySpec      `json:"key,omitzero" yaml:"key"`
	Keyless *KeylessSpec `json:"keyless,omitempty" yaml:"keyless"`
	X509    *X509Spec    `json:"x509,omitempty" yaml:"x509"`
	Notary  *NotarySpec  `json:"notary,omitempty" yaml:"notary"`
	// NotBefore and NotAfter bound, in RFC 3339, when a signature of the key counts. It is
	// made when Timestamps prove, else now.
	NotBefore  string          `json:"notBefore,omitempty" yaml:"notBefore"`
	NotAfter   string          `json:"notAfter,omitempty" yaml:"notAfter"`
	Timestamps *TimestampsSpec `json:"timestamps,omitempty" yaml:"timestamps"`
	// Builders are those that the authority may sign for, where provenance is asked for.
	Builders []BuilderSpec `json:"builders,omitempty" yaml:"builders"`
}

// KeySpec is a public key, or certificates, in PEM, inlined or in a file. Load replaces a file by its content.
type KeySpec struct {
	File string `json:"file,omitempty" yaml:"file"`
	PEM  string `json:"pem,omitempty" yaml:"pem"`
}

// Requirement is one rule: evidence that there has to be.
type Requirement struct {
	Name           string   `json:"name" yaml:"name"`
	Mode           Mode     `json:"mode" yaml:"mode"` // enforce by default
	PredicateTypes []string `json:"predicateTypes,omitempty" yaml:"predicateTypes"`
	From           Quorum   `json:"from,omitzero" yaml:"from"`
	Scope          Scope    `json:"scope" yaml:"scope"` // index by default
	// MaxAge and MinAge are Go durations, 168h say; empty for no limit. MinAge lets an
	// artifact soak: the evidence has to be at least so old.
	MaxAge string `json:"maxAge,omitempty" yaml:"maxAge"`
	MinAge string `json:"minAge,omitempty" yaml:"minAge"`
	// EffectiveOn and EffectiveUntil bound, in RFC 3339, when the requirement is in force.
	// Before, an enforced one only warns; afterwards it is off.
	EffectiveOn    string `json:"effectiveOn,omitempty" yaml:"effectiveOn"`
	EffectiveUntil string `json:"effectiveUntil,omitempty" yaml:"effectiveUntil"`
	// Where are CEL conditions that all have to hold of an attestation.
	Where []string `json:"where,omitempty" yaml:"where"`
	// SBOM asks for a software bill of materials. It implies the predicate types of SPDX and
	// CycloneDX.
	SBOM *SBOMSpec `json:"sbom,omitempty" yaml:"sbom"`
	// Licences asks for SBOMs all of whose packages are under licences that are allowed. It
	// implies the same predicate types.
	Licences *LicencesSpec `json:"licences,omitempty" yaml:"licences"`
	// WhereAll are CEL conditions over attestations, the list of those that satisfy the
	// rest of the requirement. A requirement that has neither predicateTypes nor from looks
	// at everything that an authority of the policy signed about the artifact.
	WhereAll []string `json:"whereAll,omitempty" yaml:"whereAll"`
	// Vulnerabilities asks for a scan within limits. It implies the predicate types of scans.
	Vulnerabilities *VulnerabilitySpec `json:"vulnerabilities,omitempty" yaml:"vulnerabilities"`
	// Tests asks for a test result. It implies in-toto's predicate type.
	Tests *TestSpec `json:"tests,omitempty" yaml:"tests"`
	// Layout asks for links by which an in-toto layout holds, and for nothing else.
	Layout *LayoutSpec `json:"layout,omitempty" yaml:"layout"`
	// Approval has the requirement ask for approvals of this very decision (sluice approve),
	// by whoever did not build the artifact. It has no members: approval: {}.
	Approval *ApprovalSpec `json:"approval,omitempty" yaml:"approval"`
	// Provenance asks for SLSA provenance of a build that may be trusted.
	Provenance *ProvenanceSpec `json:"provenance,omitempty" yaml:"provenance"`
	// Reproducible asks for independent builds with the same result.
	Reproducible *ReproducibleSpec `json:"reproducible,omitempty" yaml:"reproducible"`
	// Summary asks for the summary that another verification signed, that of the tier below.
	Summary *SummarySpec `json:"summary,omitempty" yaml:"summary"`
}

// typed says whether the requirement has a typed check.
func (r *Requirement) typed() bool {
	return r.SBOM != nil || r.Licences != nil || r.Vulnerabilities != nil || r.Tests != nil || r.Layout != nil || r.Approval != nil ||
		r.Provenance != nil || r.Reproducible != nil || r.Summary != nil || len(r.From.Distinct) > 0
}

// overAll says whether the requirement is about all verified evidence, whoever signed it.
func (r *Requirement) overAll() bool {
	return len(r.WhereAll) > 0 && !r.typed() && len(r.PredicateTypes) == 0 && len(r.From.Authorities) == 0 && r.From.Threshold == 0
}

// Quorum says who has to sign, and how many of them.
type Quorum struct {
	Authorities []string `json:"authorities" yaml:"authorities"`
	Threshold   int      `json:"threshold" yaml:"threshold"` // 1 by default
	// Distinct says in what those who are counted differ: principal (the default; their
	// keys differ too), or principal and builder.
	Distinct []string `json:"distinct,omitempty" yaml:"distinct"`
}

// Scope says what the evidence has to be about.
type Scope string

// The scopes of a requirement.
const (
	ScopeIndex Scope = "index" // the artifact that is promoted
	ScopeEach  Scope = "each"  // every platform of a multi-platform image; else the artifact
)

// Carry says which referrers rise with an artifact. The zero value carries all.
type Carry struct {
	verified bool
	types    []string
}

// Admits says whether a referrer rises: by its artifact type, and by whether it holds an
// attestation that an authority of the policy signed.
func (c Carry) Admits(artifactType string, verified bool) bool {
	if c.types != nil {
		return slices.Contains(c.types, artifactType)
	}
	return verified || !c.verified
}

// String renders it as it is written in a document.
func (c Carry) String() string {
	switch {
	case c.types != nil:
		return fmt.Sprint(c.types)
	case c.verified:
		return "verified"
	}
	return "all"
}

// MarshalJSON implements json.Marshaler.
func (c Carry) MarshalJSON() ([]byte, error) {
	if c.types != nil {
		return json.Marshal(c.types)
	}
	return json.Marshal(c.String())
}

// UnmarshalYAML implements yaml.Unmarshaler. A type error is how yaml keeps on reading.
func (c *Carry) UnmarshalYAML(node *yaml.Node) error {
	wrong := &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: carry: want all, verified or a list of artifact types", node.Line)}}
	switch {
	case node.Kind == yaml.ScalarNode && node.Value == "all":
		*c = Carry{}
	case node.Kind == yaml.ScalarNode && node.Value == "verified":
		*c = Carry{verified: true}
	case node.Kind == yaml.SequenceNode && len(node.Content) > 0:
		c.types = []string{}
		for _, item := range node.Content {
			if item.Kind != yaml.ScalarNode || item.Value == "" {
				return wrong
			}
			c.types = append(c.types, item.Value)
		}
	default:
		return wrong
	}
	return nil
}
