package policy

import (
	"testing"
)

// A document of OpenVEX in a version that cannot be read may say that it is affected after
// all, as any other document of a listed author that cannot be read.
func TestVEXOfUnknownVersion(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	former := s.vexBy("b", append(dayOf("timestamp", 2), vexStatements+"status", `"not_affected"`)...)
	later := s.vexBy("b", append(dayOf("timestamp", 1), vexStatements+"status", `"affected"`, "@context", `"https://openvex.dev/ns/v0.2.1"`)...)
	p := load(t, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b, c, d]}", ""))
	decided(t, p.Evaluate(s.facts(former, later, s.scanned("scan-trivy.json"))), false, "cannot be read")
	later.PredicateType = "https://openvex.dev/ns/v0.2.1"
	decided(t, p.Evaluate(s.facts(former, later, s.scanned("scan-trivy.json"))), false, "cannot be read")
}
