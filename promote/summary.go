package promote

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// SummaryType is the predicate type of a SLSA Verification Summary.
const SummaryType = "https://slsa.dev/verification_summary/v1"

// summaryPredicate is a Verification Summary Attestation, v1
// (https://slsa.dev/spec/v1.1/verification_summary).
type summaryPredicate struct {
	Verifier struct {
		ID string `json:"id"`
	} `json:"verifier"`
	TimeVerified string          `json:"timeVerified"`
	ResourceURI  string          `json:"resourceUri"`
	Policy       resource        `json:"policy"`
	Inputs       []resource      `json:"inputAttestations"`
	Result       string          `json:"verificationResult"`
	Levels       []string        `json:"verifiedLevels"`
	SLSAVersion  string          `json:"slsaVersion"`
	Promotion    summaryAddition `json:"sluice"`
}

// summaryAddition is what the summary says beyond SLSA; readers that do not know it pass
// it over.
type summaryAddition struct {
	Promotion   string `json:"promotion"`
	From        string `json:"from"`
	To          string `json:"to"`
	RequestedBy string `json:"requestedBy"`
	// Ledger is the log that has the promotion: its origin.
	Ledger string `json:"ledger,omitempty"`
}

type resource struct {
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

func digestMap(d digest.Digest) map[string]string {
	return map[string]string{d.Algorithm().String(): d.Encoded()}
}

// summarize signs the summary with the key of the tier above, stores it there, and returns
// its manifest, which is staged with the rest.
func (m *move) summarize(ctx context.Context) (node, error) {
	e, now := m.engine, m.engine.registry.Now()
	predicate, err := json.Marshal(m.predicate(now))
	if err != nil {
		return node{}, err
	}
	root := m.plan.basis.Root
	name := e.host() + "/" + m.target.FullName()
	statement, err := attest.NewStatement(SummaryType, predicate, name, root.Digest)
	if err != nil {
		return node{}, err
	}
	bundle, err := attest.Sign(ctx, statement, e.signers[m.o.To])
	if err != nil {
		return node{}, err
	}
	body, blobs, err := attest.BundleManifest(bundle, SummaryType, root, now)
	if err != nil {
		return node{}, err
	}
	manifest, err := oci.ParseManifest(ocispec.MediaTypeImageManifest, body)
	if err != nil {
		return node{}, err
	}
	n := newNode(ocispec.Descriptor{Digest: digest.FromBytes(body), Size: int64(len(body))}, manifest, 0)
	n.own = manifest
	contents := append(blobs, attest.Blob{Descriptor: n.desc, Content: body})
	if err := m.store(ctx, contents); err != nil {
		return node{}, err
	}
	return n, nil
}

func (m *move) store(ctx context.Context, contents []attest.Blob) error {
	var digests []digest.Digest
	for _, c := range contents {
		digests = append(digests, c.Descriptor.Digest)
	}
	r := m.engine.registry
	if err := r.Pin(ctx, m.target.Tier, digests, m.arrival.ID, false, m.fence); err != nil {
		return err
	}
	for _, c := range contents {
		key, err := r.Store(ctx, m.target.Tier, c.Descriptor.Digest, c.Content, m.fence)
		if err != nil {
			return err
		}
		m.record.Contents = append(m.record.Contents, RecordContent{Digest: c.Descriptor.Digest, Key: key, Size: int64(len(c.Content))})
	}
	return nil
}

// predicate says what was decided, by which policy, on which attestations.
func (m *move) predicate(now time.Time) summaryPredicate {
	p := summaryPredicate{
		TimeVerified: now.Format(time.RFC3339),
		ResourceURI:  m.engine.url + "/" + m.target.FullName(),
		Policy:       resource{URI: m.engine.url + "/api/v1/policies/" + m.policy.Name(), Digest: digestMap(m.policy.Digest())},
		Inputs:       []resource{},
		Result:       "PASSED",
		Levels:       []string{"SLUICE_TIER_" + strings.ToUpper(m.o.To)},
		SLSAVersion:  "1.1",
		Promotion:    summaryAddition{Promotion: m.o.ID, From: m.o.From, To: m.o.To, RequestedBy: m.o.RequestedBy, Ledger: m.engine.ledger},
	}
	p.Verifier.ID = m.engine.verifierID(m.o.To)
	if level := buildLevel(m.o.Verdict); level > 0 {
		p.Levels = append([]string{fmt.Sprintf("SLSA_BUILD_LEVEL_%d", level)}, p.Levels...)
	}
	seen := map[digest.Digest]bool{}
	for _, rule := range m.verdict.Rules {
		for _, used := range rule.Evidence {
			if !seen[used.Digest] {
				seen[used.Digest] = true
				p.Inputs = append(p.Inputs, resource{URI: used.PredicateType, Digest: digestMap(used.Digest)})
			}
		}
	}
	return p
}

// buildLevel is the highest SLSA build level that a rule asked about and found. SLSA
// reserves the prefix SLSA_ for its own levels, so where no rule asked none is claimed.
func buildLevel(v *policy.Verdict) int {
	level := 0
	for _, rule := range v.Rules {
		level = max(level, rule.BuildLevel)
	}
	return level
}

// summaryDigest is the digest of the summary's manifest, the last that was staged.
func (m *move) summaryDigest() digest.Digest {
	return m.record.Manifests[len(m.record.Manifests)-1].Digest
}
