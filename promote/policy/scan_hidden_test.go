package policy

import "testing"

// A .grype.yaml can hold a rule of the kind that grype has by itself, for any package:
// what Debian's libssl3 has is found through its upstream, openssl.
func TestReadScanHiddenByUpstream(t *testing.T) {
	const ignored = "scanner/result/ignoredMatches/0/appliedIgnoreRules"
	for _, rule := range []string{
		`{"namespace":"","package":{"upstream-name":"openssl"},"match-type":"exact-indirect-match"}`,
		`{"namespace":"","package":{"upstream-name":".*"},"match-type":"exact-indirect-match"}`,
		`{"namespace":"","reason":"we do not care","package":{"name":"libssl3","version":"3.0.1","type":"deb","upstream-name":"openssl"},"match-type":"exact-indirect-match"}`,
	} {
		s, err := readScan(typeScanCosign, predicateOf(t, "scan-grype.json", ignored, "["+rule+"]"))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.found) != 4 {
			t.Errorf("%d findings, want 4: a rule that is not grype's own hid one: %s", len(s.found), rule)
		}
	}
}
