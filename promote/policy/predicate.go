package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// family groups predicate types that report on a state which changes: of a scan, a test,
// an exploitability statement or an approval only the newest of an authority counts,
// because it replaces the ones before. A provenance or an SBOM stays true.
type family string

const (
	familyNone     family = ""
	familyTest     family = "test"
	familyScan     family = "scan"
	familyVEX      family = "vex"
	familyApproval family = "approval"
	// familySummary is of verification summaries where a rule says which ones it means:
	// one authority may sign those of several tiers.
	familySummary family = "summary"
)

// predicateKind is what is known about a predicate type and its versions.
type predicateKind struct {
	prefix string // a type of this kind is the prefix, or begins with it and a slash
	family family
	file   string   // what the predicate is called in remedies
	times  []string // where the predicate says when it was made, the best first
}

// predicateKinds lists the types that are known, by their specifications. A type that is
// not listed belongs to no family, and its time is looked for under the last entry's names.
func predicateKinds() []predicateKind {
	return []predicateKind{
		{"https://slsa.dev/provenance/v1", familyNone, "provenance.json", []string{"runDetails.metadata.finishedOn", "runDetails.metadata.startedOn"}},
		{"https://slsa.dev/provenance", familyNone, "provenance.json", []string{"metadata.buildFinishedOn", "metadata.buildStartedOn"}},
		{"https://slsa.dev/verification_summary", familyNone, "summary.json", []string{"timeVerified"}},
		{"https://spdx.dev/Document", familyNone, "sbom.spdx.json", []string{"creationInfo.created"}},
		{"https://cyclonedx.org/bom", familyNone, "sbom.cdx.json", []string{"metadata.timestamp"}},
		// The specification of test results has no time: these are what runners add.
		{"https://in-toto.io/attestation/test-result", familyTest, "test-result.json", []string{"finishedOn", "metadata.finishedOn", "timestamp"}},
		{"https://in-toto.io/attestation/vulns", familyScan, "vulns.json", []string{"metadata.scanFinishedOn", "metadata.scanStartedOn"}},
		{"https://cosign.sigstore.dev/attestation/vuln", familyScan, "vulns.json", []string{"metadata.scanFinishedOn", "metadata.scanStartedOn"}},
		{"https://openvex.dev/ns", familyVEX, "vex.json", []string{"last_updated", "timestamp"}},
		{"https://cyclonedx.org/vex", familyVEX, "vex.json", []string{"metadata.timestamp"}},
		// The specifications of these give them no time of their own.
		{"https://in-toto.io/attestation/scai/attribute-report", familyNone, "scai.json", nil},
		{"https://in-toto.io/attestation/release", familyNone, "release.json", nil},
		{"https://in-toto.io/attestation/link", familyNone, "link.json", nil},
		{"https://in-toto.io/attestation/human-review", familyApproval, "review.json", []string{"timestamp"}},
		{attest.PredicateNotary, familyNone, "", []string{"signature.signingTime"}},
		{"https://sluice.dev/approval", familyApproval, "approval.json", []string{"timestamp"}},
		{ExceptionType, familyNone, "exception.json", []string{"timestamp"}},
		{"", familyNone, "predicate.json", []string{"metadata.finishedOn", "metadata.timestamp", "finishedOn", "timestamp", "timeCreated"}},
	}
}

func kindOf(predicateType string) predicateKind {
	kinds := predicateKinds()
	i := slices.IndexFunc(kinds, func(k predicateKind) bool {
		return k.prefix == "" || predicateType == k.prefix || strings.HasPrefix(predicateType, k.prefix+"/")
	})
	return kinds[i] // the last entry matches all
}

// StatedTime is when an attestation says of itself that it was made, zero where it does not say,
// or where that cannot be read.
func StatedTime(e attest.Evidence) time.Time {
	when, err := statedTime(kindOf(e.PredicateType), e.Predicate())
	if err != nil {
		return time.Time{}
	}
	return when
}

// BuildersOf are the builders that a provenance names, well-formed or not, in the place of any
// version: what stands in that of another is no way round a revocation.
func BuildersOf(e attest.Evidence) []string {
	var ids []string
	run, _ := e.Predicate()["runDetails"].(map[string]any)
	for _, holder := range []map[string]any{run, e.Predicate()} {
		builder, _ := holder["builder"].(map[string]any)
		if id, _ := builder["id"].(string); id != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// statedTime reads when a predicate says that it was made. The signer vouches for it, and
// nobody else. A time that is there and cannot be read is an error, not a reason to look
// for a worse one.
func statedTime(kind predicateKind, predicate map[string]any) (time.Time, error) {
	for _, at := range kind.times {
		var value any = predicate
		for _, field := range strings.Split(at, ".") {
			object, ok := value.(map[string]any)
			if !ok {
				value = nil
				break
			}
			value = object[field]
		}
		if value == nil {
			continue
		}
		text, ok := value.(string)
		t, err := time.Parse(time.RFC3339, text)
		if !ok || err != nil || t.IsZero() {
			return time.Time{}, fmt.Errorf("its %s is no time", at)
		}
		return t, nil
	}
	if len(kind.times) == 0 {
		return time.Time{}, errors.New("it carries no proven time, and its predicate type states none")
	}
	return time.Time{}, fmt.Errorf("it carries no time, neither proven nor as predicate.%s", strings.Join(kind.times, " or predicate."))
}
