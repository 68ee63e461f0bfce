package promote

import (
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Request asks that an artifact rise one tier.
type Request struct {
	Repository string   `json:"repository"` // without the tier
	Reference  string   `json:"reference"`  // tag or digest in the tier it rises from
	From       string   `json:"from"`
	To         string   `json:"to"`
	Tags       []string `json:"tags,omitempty"` // in the tier above; none: the tag that was asked by
	Reason     string   `json:"reason,omitempty"`
	// Wait has the promotion wait where nothing but approvals is missing, for WaitFor, a
	// Go duration of at most 720h. WaitFor alone says the same. Default 168h.
	Wait    bool   `json:"wait,omitempty"`
	WaitFor string `json:"waitFor,omitempty"`
	// Rollback has the tags move back, to where an earlier promotion put them. Replaces is
	// what they name now; where one names something else, none moves. Empty: whatever it is.
	Rollback bool          `json:"rollback,omitempty"`
	Replaces digest.Digest `json:"replaces,omitempty"`

	follows bool // nobody asked: it is the work of a tier that follows
}

// State is how far a promotion has come.
type State string

// The states of a promotion. The last three are terminal.
const (
	Pending   State = "Pending"   // recorded and not begun, or waiting for approvals
	Running   State = "Running"   // being decided or copied; a replica that stops leaves it to another
	Succeeded State = "Succeeded" // the artifact stands in the tier above
	Failed    State = "Failed"    // the policy said no
	Errored   State = "Errored"   // it could not be decided or done; nothing was let through
)

// Terminal says whether the state never changes again.
func (s State) Terminal() bool { return s == Succeeded || s == Failed || s == Errored }

// Promotion is what happened, or is happening, to a request.
type Promotion struct {
	ID          string          `json:"id"`
	State       State           `json:"state"`
	Repository  string          `json:"repository"`
	Reference   string          `json:"reference"` // as it was asked
	Digest      digest.Digest   `json:"digest"`
	From        string          `json:"from"`
	To          string          `json:"to"`
	Tags        []string        `json:"tags"`
	RequestedBy string          `json:"requestedBy"`
	Reason      string          `json:"reason,omitempty"`
	Rollback    bool            `json:"rollback,omitempty"`
	Replaces    digest.Digest   `json:"replaces,omitempty"` // what its tags were to name until then
	CreatedAt   time.Time       `json:"createdAt"`
	FinishedAt  *time.Time      `json:"finishedAt,omitempty"`
	Verdict     *policy.Verdict `json:"verdict,omitempty"`
	Moved       Moved           `json:"moved"`
	// Left are the referrers that did not rise, and why.
	Left []Left `json:"left,omitempty"`
	// Summary is the digest of the referrer in the tier above that carries the signed
	// verification summary.
	Summary digest.Digest `json:"summary,omitempty"`
	// LedgerIndex is the index of the event in the ledger, once it is sealed.
	LedgerIndex *int64 `json:"ledgerIndex,omitempty"`
	// Error says why the promotion is Errored, or why one that Failed waits no longer.
	Error string `json:"error,omitempty"`
	// WaitUntil is until when it waits, or would have waited, for approvals.
	WaitUntil *time.Time `json:"waitUntil,omitempty"`
	// Standing says how an artifact that stood in the tier above already stands there now.
	Standing *Standing `json:"standing,omitempty"`
}

// Standing is what the policy says now of an artifact that stands in the tier above. What
// would no longer pass is reported, and stays.
type Standing struct {
	Allowed bool `json:"allowed"` // whether it would pass
	// Since is when it was first decided so: since when it would, or would not, pass. Zero
	// where no former decision is known.
	Since time.Time `json:"since,omitzero"`
	// Previous is the promotion that decided about it before; empty where none is known.
	Previous string `json:"previous,omitempty"`
	// Changed are the enforced rules that say another thing now than they did then.
	Changed []string `json:"changed"`
}

// Moved counts what a promotion brought to the tier above; what was there is not counted.
type Moved struct {
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`    // of the manifests and blobs together
	Copied    int   `json:"copied"`   // objects that the store copied by itself
	Linked    int   `json:"linked"`   // contents whose bytes were in the store already
	Streamed  int   `json:"streamed"` // objects that went through this process
	// Referrers rose although the policy said no, because an authority of it signed them;
	// the first hundred.
	Referrers []digest.Digest `json:"referrers,omitempty"`
}

// Left is a referrer that stayed behind.
type Left struct {
	Digest       digest.Digest `json:"digest"`
	Subject      digest.Digest `json:"subject"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Reason       string        `json:"reason"`
}

// Filter selects promotions; empty fields select all.
type Filter struct {
	Repository string
	To         string
	State      State
}

// PolicyInfo is a policy in force.
type PolicyInfo struct {
	Name     string        `json:"name"`
	Digest   digest.Digest `json:"digest"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	SetBy    string        `json:"setBy"`
	SetAt    time.Time     `json:"setAt"`
	Document string        `json:"document"` // canonical JSON, which is YAML too, keys inlined: what the digest is of
}

// PublicKey is a key that signs for the registry.
type PublicKey struct {
	Tier       string `json:"tier,omitempty"` // empty for the ledger
	Use        string `json:"use"`            // summary or ledger
	KeyID      string `json:"keyId"`          // SHA-256 of the SubjectPublicKeyInfo, lower-case hex
	VerifierID string `json:"verifierId,omitempty"`
	PublicKey  string `json:"publicKey"` // PEM
}

// Artifact is a manifest in a tier with the tags that point at it.
type Artifact struct {
	ocispec.Descriptor
	Subject   digest.Digest `json:"subject,omitempty"`
	Tags      []string      `json:"tags"`
	CreatedAt time.Time     `json:"createdAt"`
	By        string        `json:"by"`
	// Quarantine is what keeps it from being pulled: its own, or that of what it holds.
	Quarantine *tiers.Quarantine `json:"quarantine,omitempty"`
}
