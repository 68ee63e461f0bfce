package policy

import (
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// crowd is a scan with many findings, each in a package of its own, and as many VEX
// statements as are asked for about the first of them, each about one of the packages.
func (s scene) crowd(findings, statements int, id func(i int) string) []attest.Evidence {
	var matches, vex []any
	for i := range findings {
		matches = append(matches, map[string]any{
			"vulnerability": map[string]any{"id": id(i), "severity": "Critical", "fix": map[string]any{"state": "fixed", "versions": []any{"2.0"}}},
			"artifact":      map[string]any{"name": fmt.Sprint("package", i), "version": "1.0", "purl": fmt.Sprintf("pkg:deb/debian/package%d@1.0?arch=amd64&distro=debian-12", i)},
		})
	}
	for i := range statements {
		vex = append(vex, map[string]any{
			"vulnerability": map[string]any{"name": id(i)}, "status": vexNotAffected, "justification": "component_not_present",
			"products": []any{map[string]any{
				"@id":           "pkg:oci/app@" + root.String(),
				"subcomponents": []any{map[string]any{"@id": fmt.Sprintf("pkg:deb/debian/package%d@1.0", i)}},
			}},
		})
	}
	scan := map[string]any{
		"scanner":  map[string]any{"result": map[string]any{"descriptor": map[string]any{"name": "grype"}, "matches": matches}},
		"metadata": map[string]any{"scanFinishedOn": noon.Format(time.RFC3339)},
	}
	document := map[string]any{"@context": "https://openvex.dev/ns", "timestamp": noon.Format(time.RFC3339), "statements": vex}
	return []attest.Evidence{s.signed("scan", typeScanCosign, scan, "a"), s.signed("vex", typeOpenVEX, document, "b")}
}

func BenchmarkVulnerabilities(b *testing.B) {
	keys := newKeyring(b, "a", "b", "c")
	s := scene{b, keys}
	for name, id := range map[string]func(int) string{
		"apart":  func(i int) string { return fmt.Sprint("CVE-2024-", i) },
		"shared": func(i int) string { return fmt.Sprint("CVE-2024-", i%100) }, // a hundred packages of one source
	} {
		b.Run(name, func(b *testing.B) {
			p := load(b, keys, scannedBy("max: {critical: 18000}, vex: {authorities: [b]}", ""))
			facts := s.facts(s.crowd(20_000, 2_000, id)...)
			b.ReportAllocs()
			for b.Loop() {
				if v := p.Evaluate(facts); !v.Allowed {
					b.Fatal(v.Rules[0].Message)
				}
			}
		})
	}
}

// A scan with many findings and much VEX is decided in good time, and said in few words.
func TestVulnerabilitiesInACrowd(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, scannedBy("max: {critical: 17999}, vex: {authorities: [b]}", ""))
	begin := time.Now()
	v := p.Evaluate(s.facts(s.crowd(20_000, 2_000, func(i int) string { return fmt.Sprint("CVE-2024-", i) })...))
	decided(t, v, false, "18000 critical (at most 17999): CVE-2024-2000 (critical, package2000 1.0, fixed in 2.0)")
	decided(t, v, false, "and 17995 more")
	if took := time.Since(begin); took > time.Minute {
		t.Errorf("took %s", took)
	}
	if n := len(v.Rules[0].Message); n > 1000 {
		t.Errorf("message of %d bytes", n)
	}
}
