package policy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// scannedBy is a document whose one requirement is about the scans of a.
func scannedBy(check, extra string) string {
	return document("    - {name: scan, from: {authorities: [a]}, vulnerabilities: {" + check + "}" + extra + "}\n")
}

// scanned is a scan of the root by a.
func (s scene) scanned(file string, changes ...string) attest.Evidence {
	s.t.Helper()
	predicateType := map[string]string{"scan-intoto-v0.1.json": typeScanInTotoV01, "scan-intoto-v0.2.json": typeScanInTotoV02}[file]
	if predicateType == "" {
		predicateType = typeScanCosign
	}
	return s.signed(file+strings.Join(changes, " "), predicateType, predicateOf(s.t, file, changes...), "a")
}

func TestVulnerabilityBudgets(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	const trivy, grype, intoto = "scan-trivy.json", "scan-grype.json", "scan-intoto-v0.2.json"
	unread := []string{"scanner/result", "{}"}
	unstated := []string{"scanner/result/Results/0/Vulnerabilities/2/Status", "-"}
	tests := []struct {
		name, check, file string
		changes           []string
		allowed           bool
		message           string
	}{
		{"within", "max: {critical: 2, high: 2, medium: 1}", trivy, nil, true, "by a"},
		{"one over", "max: {critical: 2, high: 1}", trivy, nil, false, "2 high (at most 1): CVE-2024-6119 (high, libcrypto3 3.1.4-r5, fixed in 3.1.7-r0), CVE-2024-6119 (high, libssl3 3.1.4-r5, fixed in 3.1.7-r0)"},
		{"in two places once", "max: {critical: 1, unknown: 1}", trivy, nil, true, ""},
		{"two over", "max: {critical: 0, high: 2, medium: 0}", trivy, nil, false, "2 critical (at most 0): CVE-2024-45337 (critical, golang.org/x/crypto v0.17.0, fixed in 0.31.0), CVE-2025-22868 (unknown, golang.org/x/oauth2 v0.15.0, fixed in 0.27.0, counted as critical); 1 medium (at most 0): CVE-2023-42366 (medium, busybox 1.36.1-r15, no fix)"},
		{"left out is not limited", "max: {low: 0}", trivy, nil, true, ""},
		{"unknown counts as critical", "max: {critical: 1}", trivy, nil, false, "2 critical (at most 1)"},
		{"unknown with a budget", "max: {critical: 1, unknown: 0}", trivy, nil, false, "1 unknown (at most 0): CVE-2025-22868 (unknown"},
		{"grype", "max: {critical: 0}", grype, nil, false, "1 critical (at most 0): GHSA-xvch-5gv4-984h (critical, minimist 1.2.5, fixed in 1.2.6)"},
		{"grype negligible", "max: {critical: 1, high: 1, negligible: 0}", grype, nil, false, "1 negligible (at most 0): CVE-2010-4756 (negligible, libc6 2.36-9+deb12u1, no fix)"},
		{"in-toto", "max: {high: 0}", intoto, nil, false, "1 high (at most 0): CVE-2024-6119 (high)"},
		{"in-toto v0.1", "max: {high: 0}", "scan-intoto-v0.1.json", nil, false, "1 high (at most 0): CVE-2024-6119 (high)"},
		{"in-toto within", "max: {critical: 0, high: 1}", intoto, nil, true, ""},
		{"unreadable", "max: {critical: 100}", trivy, unread, false, "by a: its scanner.result cannot be read as trivy or grype"},
		{"unreadable and nothing limited", "max: {negligible: 100}", trivy, unread, false, "cannot be read as trivy or grype"},
		{"unfixed", "max: {medium: 0}", trivy, nil, false, "1 medium"},
		{"unfixed left out", "max: {medium: 0}, ignoreUnfixed: true", trivy, nil, true, ""},
		{"fixed stays", "max: {high: 0}, ignoreUnfixed: true", trivy, nil, false, "2 high"},
		{"trivy does not say", "max: {medium: 0}, ignoreUnfixed: true", trivy, unstated, false, "1 medium (at most 0): CVE-2023-42366 (medium, busybox 1.36.1-r15)"},
		{"grype unfixed left out", "max: {negligible: 0}, ignoreUnfixed: true", grype, nil, true, ""},
		{"grype does not say", "max: {negligible: 0}, ignoreUnfixed: true", grype, []string{"scanner/result/matches/2/vulnerability/fix/state", `"unknown"`}, false, "1 negligible"},
		{"in-toto does not say", "max: {high: 0}, ignoreUnfixed: true", intoto, nil, false, "1 high"},
		{"unfixed at one place", "max: {low: 0}, ignoreUnfixed: true", trivy, []string{"scanner/result/Results/0/Vulnerabilities", `[
			{"VulnerabilityID":"CVE-1","PkgName":"p","Severity":"LOW","Status":"fixed","FixedVersion":"2"},{"VulnerabilityID":"CVE-1","PkgName":"p","Severity":"LOW","Status":"affected"}]`}, false, "1 low (at most 0): CVE-1 (low, p, fixed in 2)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, scannedBy(tt.check, ""))
			decided(t, p.Evaluate(s.facts(s.scanned(tt.file, tt.changes...))), tt.allowed, tt.message)
		})
	}
}

// Evidence 8: a scan that is too old, and a scanner whose database is.
func TestVulnerabilityAges(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	const trivy, grype, intoto = "scan-trivy.json", "scan-grype.json", "scan-intoto-v0.2.json"
	database := func(when string) []string { return []string{"scanner/db/lastUpdate", when} }
	built := "scanner/result/descriptor/db"
	tests := []struct {
		name, limit, file string
		changes           []string
		allowed           bool
		message           string
	}{
		{"fresh", "6h", trivy, nil, true, ""},
		{"stale", "5h", trivy, nil, false, "the scanner's database is 5h45m30s old, maxDatabaseAge is 5h0m0s"},
		{"at the limit", "6h", trivy, database(`"2026-11-22T06:00:00Z"`), true, ""},
		{"beyond the limit", "6h", trivy, database(`"2026-11-22T05:59:59Z"`), false, "6h0m1s old"},
		{"of another zone", "6h", trivy, database(`"2026-11-22T06:59:59+01:00"`), false, "6h0m1s old"},
		{"a little ahead", "6h", trivy, database(`"2026-11-22T12:05:00Z"`), true, ""},
		{"in the future", "6h", trivy, database(`"2026-11-22T12:05:01Z"`), false, "the scanner's database is dated 2026-11-22T12:05:01Z, which is in the future"},
		{"missing", "6h", trivy, database("-"), false, "maxDatabaseAge 6h0m0s cannot be decided: the scan does not say when the scanner's database was updated (scanner.db.lastUpdate)"},
		{"empty", "6h", trivy, database(`""`), false, "cannot be decided"},
		{"null", "6h", trivy, database(`null`), false, "cannot be decided"},
		{"no time", "6h", trivy, database(`"yesterday"`), false, "no time"},
		{"a date", "6h", trivy, database(`"2026-11-22"`), false, "no time"},
		{"a number", "6h", trivy, database(`1795348800`), false, "cannot be decided"},
		{"no database", "6h", trivy, []string{"scanner/db", "-"}, false, "cannot be decided"},
		{"in the version", "6h", trivy, append(database("-"), "scanner/db/version", `"2026-11-22T06:00:00Z"`), true, ""},
		{"stale in the version", "6h", trivy, append(database("-"), "scanner/db/version", `"2026-11-22T05:00:00Z"`), false, "7h0m0s old"},
		{"the older of both", "6h", trivy, []string{"scanner/db/version", `"2026-11-22T05:00:00Z"`}, false, "7h0m0s old"},
		{"grype", "11h", grype, nil, true, ""},
		{"grype stale", "10h", grype, nil, false, "10h28m17s old"},
		{"grype of another version", "10h", grype, []string{built, `{"status":{"built":"2026-11-22T01:00:00Z"}}`}, false, "11h0m0s old"},
		{"grype without", "10h", grype, []string{built, `{}`}, false, "cannot be decided"},
		{"grype older than it was said to be", "10h", grype, database(`"2026-11-22T11:00:00Z"`), false, "10h28m17s old"},
		{"in-toto", "6h", intoto, nil, true, ""},
		{"in-toto stale", "5h", intoto, nil, false, "5h45m29s old"},
		{"in-toto missing", "6h", intoto, database("-"), false, "cannot be decided"},
		{"in-toto version does not count", "6h", intoto, append(database("-"), "scanner/db/version", `"2026-11-22T06:00:00Z"`), false, "cannot be decided"},
		{"one of two scanners", "6h", trivy, []string{"scanner", "-", "scanners", `[{"db":{"lastUpdate":"2026-11-22T11:00:00Z"},"result":{"SchemaVersion":2,"Results":[{"Class":"os-pkgs"}]}},
			{"result":{"SchemaVersion":2,"Results":[{"Class":"os-pkgs"}]}}]`}, false, "cannot be decided"},
		{"two scanners", "6h", trivy, []string{"scanner", "-", "scanners", `[{"db":{"lastUpdate":"2026-11-22T11:00:00Z"},"result":{"SchemaVersion":2,"Results":[{"Class":"os-pkgs"}]}},
			{"db":{"lastUpdate":"2026-11-22T05:00:00Z"},"result":{"SchemaVersion":2,"Results":[{"Class":"os-pkgs"}]}}]`}, false, "7h0m0s old"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := load(t, keys, scannedBy("max: {low: 0}, maxDatabaseAge: "+tt.limit, ""))
			decided(t, p.Evaluate(s.facts(s.scanned(tt.file, tt.changes...))), tt.allowed, tt.message)
		})
	}
	scan := func(finished string) attest.Evidence {
		return s.scanned(trivy, "metadata/scanFinishedOn", finished)
	}
	for name, tt := range map[string]struct {
		evidence []attest.Evidence
		allowed  bool
		message  string
	}{
		"young":                     {[]attest.Evidence{scan(`"2026-11-21T12:00:00Z"`)}, true, ""},
		"old":                       {[]attest.Evidence{scan(`"2026-11-21T11:59:59Z"`)}, false, "it is 24h0m1s old, maxAge is 24h0m0s"},
		"undated":                   {[]attest.Evidence{s.scanned(trivy, "metadata", "-")}, false, "maxAge 24h0m0s cannot be decided"},
		"proven to be old":          {[]attest.Evidence{at(scan(`"2026-11-22T11:00:00Z"`), noon.Add(-25*time.Hour))}, false, "it is 25h0m0s old"},
		"the newest is worse":       {[]attest.Evidence{scan(`"2026-11-22T10:00:00Z"`), s.scanned(trivy, "scanner/result/Results/0/Vulnerabilities/0/Severity", `"LOW"`)}, false, "1 low (at most 0)"},
		"the newest is better":      {[]attest.Evidence{s.scanned(trivy, "scanner/result/Results/0/Vulnerabilities/0/Severity", `"LOW"`, "metadata/scanFinishedOn", `"2026-11-22T10:00:00Z"`), scan(`"2026-11-22T11:00:00Z"`)}, true, ""},
		"the newest cannot be read": {[]attest.Evidence{scan(`"2026-11-22T10:00:00Z"`), s.scanned(trivy, "scanner/result", "{}")}, false, "cannot be read as trivy or grype"},
		"another format is newer":   {[]attest.Evidence{scan(`"2026-11-22T10:00:00Z"`), s.scanned(intoto, "scanner/result/0/severity", `[{"method":"nvd","score":"low"}]`)}, false, "1 low (at most 0)"},
	} {
		t.Run(name, func(t *testing.T) {
			decided(t, load(t, keys, scannedBy("max: {low: 0}", ", maxAge: 24h")).Evaluate(s.facts(tt.evidence...)), tt.allowed, tt.message)
		})
	}
}

// Exceptions take findings out after VEX, and the verdict shows each.
func TestVulnerabilityExceptions(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	s := scene{t, keys}
	p := load(t, keys, scannedBy("max: {critical: 1, high: 0}", "")+"  exceptions: {from: {authorities: [b]}, rules: [scan]}\n")
	except := func(fields ...string) attest.Evidence {
		changes := map[string]string{"rule": "scan", "digest": ""}
		for i := 0; i+1 < len(fields); i += 2 {
			changes[fields[i]] = fields[i+1]
		}
		return s.exceptionBy("b", changes)
	}
	openssl := except("vulnerability", "CVE-2024-6119")
	crypto := except("purl", "pkg:golang/golang.org/x/crypto")
	one := except("vulnerability", "CVE-2024-6119", "purl", "pkg:apk/alpine/libssl3")
	for name, tt := range map[string]struct {
		exceptions []attest.Evidence
		used       int
		allowed    bool
		message    string
	}{
		"none":                {nil, 0, false, "2 critical (at most 1): CVE-2024-45337"},
		"one of two":          {[]attest.Evidence{openssl}, 1, false, "2 critical (at most 1)"},
		"both":                {[]attest.Evidence{openssl, crypto}, 2, true, ""},
		"in one package only": {[]attest.Evidence{one, crypto}, 2, false, "1 high (at most 0): CVE-2024-6119 (high, libcrypto3 3.1.4-r5"},
		"ids differ in case":  {[]attest.Evidence{except("vulnerability", "cve-2024-6119"), crypto}, 1, false, "2 high (at most 0)"},
		"not needed":          {[]attest.Evidence{openssl, crypto, except("vulnerability", "CVE-2023-42366")}, 2, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := p.Evaluate(s.facts(append(tt.exceptions, s.scanned("scan-trivy.json"))...))
			decided(t, v, tt.allowed, tt.message)
			if used := v.Rules[0].Exceptions; len(used) != tt.used {
				t.Errorf("used %+v", used)
			}
		})
	}
}

func TestLoadVulnerabilities(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for check, want := range map[string]string{
		"maxDatabaseAge: 1h":                                                                "vulnerabilities.max: is missing",
		"max: {}":                                                                           "vulnerabilities.max: is missing",
		"max: {critical: -1}":                                                               "max.critical: is -1, want 0 or more",
		"max: {critical: many}":                                                             `"many" is no number of findings`,
		"max: {critical: \"0\"}":                                                            "no number of findings",
		"max: {critical: 1_0}":                                                              "no number of findings",
		"max: {critical: 0.5}":                                                              "no number of findings",
		"max: {Critical: 0}":                                                                "max.Critical: is no severity, want one of [critical high medium low negligible unknown]",
		"max: {critical: 0, critical: 1}":                                                   "already",
		"max: {critical: 0}, maxAge: 1h":                                                    `unknown key "maxAge"`,
		"max: {critical: 0}, maxDatabaseAge: 2 days":                                        "want a duration",
		"max: {critical: 0}, vex: {statuses: [fixed]}":                                      "vex.authorities: is missing",
		"max: {critical: 0}, vex: {authorities: [nobody]}":                                  `"nobody" is no authority`,
		"max: {critical: 0}, vex: {authorities: [b, b]}":                                    "stands there twice",
		"max: {critical: 0}, vex: {authorities: [b], statuses: []}":                         "statuses: is empty",
		"max: {critical: 0}, vex: {authorities: [b], statuses: [affected]}":                 `is "affected", want one of [not_affected fixed]`,
		"max: {critical: 0}, vex: {authorities: [b], statuses: [fixed, fixed]}":             "stands there twice",
		"max: {critical: 0}, vex: {authorities: [b], justifications: [because]}":            `is "because", want one of [component_not_present`,
		"max: {critical: 0}, vex: {authorities: [b], justifications: []}":                   "justifications: is empty",
		"max: {critical: 0}, vex: {authorities: [b], maxAge: forever}":                      "want a duration",
		"max: {critical: 0}}, predicateTypes: [\"https://spdx.dev/Document\"], whereAll: {": `"https://spdx.dev/Document" cannot be read by vulnerabilities`,
	} {
		_, err := Load([]byte(scannedBy(check, "")), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, want); err != nil {
			t.Errorf("%s: %v", check, err)
		}
	}
	for _, other := range []string{", tests: {result: PASSED}", ", sbom: {minPackages: 1}"} {
		_, err := Load([]byte(scannedBy("max: {critical: 0}", other)), keys.read)
		if err := wants(err, oci.ErrPolicyInvalid, "cannot be read by"); err != nil {
			t.Errorf("one attestation of two kinds%s: %v", other, err)
		}
	}
	nobody := strings.Replace(scannedBy("max: {critical: 0}", `, whereAll: ["true"]`), "from: {authorities: [a]}, ", "", 1)
	if _, err := Load([]byte(nobody), keys.read); wants(err, oci.ErrPolicyInvalid, "from.authorities: is missing") != nil {
		t.Errorf("a scan by nobody loads: %v", err)
	}
	p := load(t, keys, scannedBy("max: {critical: 0}, vex: {authorities: [b]}", ""))
	r := p.Document().Spec.Require[0]
	if !slices.Equal(r.PredicateTypes, []string{typeScanCosign, typeScanInTotoV02, typeScanInTotoV01}) {
		t.Errorf("implied %v", r.PredicateTypes)
	}
	if vex := r.Vulnerabilities.VEX; !slices.Equal(vex.Statuses, []string{vexNotAffected, vexFixed}) || len(vex.Justifications) != 5 {
		t.Errorf("defaults %+v", vex)
	}
	again, err := Load(p.Canonical(), nil)
	if err != nil || again.Digest() != p.Digest() {
		t.Errorf("the canonical form loads as another policy: %v", err)
	}
	if one := load(t, keys, scannedBy("max: {critical: 0}", `, predicateTypes: ["`+typeScanCosign+`"]`)); len(one.Document().Spec.Require[0].PredicateTypes) != 1 {
		t.Error("types were added to those that are named")
	}
}

func TestVulnerabilityWarnings(t *testing.T) {
	keys := newKeyring(t, "a", "b", "c")
	for budgets, want := range map[string]string{
		"{critical: 0}":                         "",
		"{critical: 0, high: 0, low: 3}":        "max: limits low, but not medium, which is worse",
		"{high: 0}":                             "max: limits high, but not critical, which is worse",
		"{medium: 0, negligible: 1}":            "max: limits medium, but not critical and high, which is worse",
		"{critical: 0, unknown: 0}":             "",
		"{critical: 0, high: 1, medium: 2}":     "",
		"{critical: 0, high: 1, negligible: 2}": "max: limits negligible, but not medium and low, which is worse",
	} {
		got := slices.DeleteFunc(load(t, keys, scannedBy("max: "+budgets, "")).Warnings(), func(w string) bool { return !strings.Contains(w, "vulnerabilities") })
		if (want == "") != (len(got) == 0) || want != "" && !strings.Contains(got[0], want) {
			t.Errorf("%s: warnings %q, want %q", budgets, got, want)
		}
	}
}
