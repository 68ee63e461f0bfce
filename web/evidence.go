package web

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const evidencePage = 100

type evidenceView struct {
	Rows             []evidenceRow
	Verified, Others int
	First            int // index of the first row
	Next             string
}

// evidenceRow is an attestation and what it counts for.
type evidenceRow struct {
	attest.Evidence
	Label    string // a short name of the predicate type, if it has one
	Platform string // what it is about, if not the artifact itself
	Badge    badge
}

// addEvidence lists what is attached, what counts first.
func (q *query) addEvidence(ctx context.Context, v *artifactView) error {
	all, err := q.Gate.Evidence(ctx, v.Tier.Name, v.Repository, v.Descriptor.Digest)
	if err != nil {
		return fmt.Errorf("evidence of %s: %w", v.Descriptor.Digest, err)
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b attest.Evidence) int {
		if a.Verified() != b.Verified() {
			if a.Verified() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.PredicateType, b.PredicateType), cmp.Compare(a.Manifest, b.Manifest))
	})
	for _, e := range all {
		if e.Verified() {
			v.Evidence.Verified++
		} else {
			v.Evidence.Others++
		}
	}
	if text := q.r.URL.Query().Get("evidence"); text != "" {
		if v.Evidence.First, err = strconv.Atoi(text); err != nil || v.Evidence.First < 0 {
			return fmt.Errorf("%w: evidence %q", oci.ErrRequestInvalid, text)
		}
	}
	begin := min(v.Evidence.First, len(all))
	end := min(begin+evidencePage, len(all))
	for _, e := range all[begin:end] {
		v.Evidence.Rows = append(v.Evidence.Rows, v.evidenceRow(e))
	}
	if end < len(all) {
		v.Evidence.Next = more("evidence", strconv.Itoa(end))
	}
	return nil
}

func (v *artifactView) evidenceRow(e attest.Evidence) evidenceRow {
	row := evidenceRow{Evidence: e, Label: predicateLabel(e.PredicateType)}
	switch {
	case e.Verified():
		row.Badge = badge{Kind: "ok", Label: "verified"}
	case len(e.Functionaries) > 0: // a link of an in-toto layout that is about another step
		row.Badge = badge{Kind: "idle", Label: "for layouts"}
	case e.Format == attest.FormatUnsigned:
		row.Badge = badge{Kind: "idle", Label: "unsigned"}
	default:
		row.Badge = badge{Kind: "warn", Label: "not verified"}
	}
	if e.Subject != v.Descriptor.Digest {
		row.Platform = shortDigest(e.Subject)
		for _, p := range v.Platforms {
			if p.Digest == e.Subject && p.Name != "" {
				row.Platform = p.Name
			}
		}
	}
	return row
}

// predicateLabel is what people call a predicate type, empty for those not known here.
// The type itself is shown beside it.
func predicateLabel(predicateType string) string {
	for _, known := range [...][2]string{
		{"https://slsa.dev/provenance/", "SLSA provenance"},
		{"https://slsa.dev/verification_summary/", "Verification summary"},
		{"https://spdx.dev/Document", "SPDX SBOM"},
		{"https://cyclonedx.org/bom", "CycloneDX SBOM"},
		{"https://in-toto.io/attestation/test-result/", "Test result"},
		{"https://in-toto.io/attestation/vulns/", "Vulnerability scan"},
		{"https://cosign.sigstore.dev/attestation/vuln/", "Vulnerability scan"},
		{"https://openvex.dev/ns", "OpenVEX"},
		{"https://sigstore.dev/cosign/sign/", "Signature"},
	} {
		if strings.HasPrefix(predicateType, known[0]) {
			return known[1]
		}
	}
	return ""
}
