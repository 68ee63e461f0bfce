package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// predicateOf reads a predicate from testdata as a statement would hold it, and changes
// it: "scanner.result.Results.0.Class" "null". A value of "-" takes the field out.
func predicateOf(t testing.TB, file string, changes ...string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := attest.DecodeStrict(raw, attest.MaxDepth)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(changes); i += 2 {
		change(t, tree, changes[i], changes[i+1])
	}
	return tree
}

func change(t testing.TB, tree any, path, value string) {
	t.Helper()
	fields := strings.Split(path, "/")
	last := fields[len(fields)-1]
	for _, field := range fields[:len(fields)-1] {
		if list, ok := tree.([]any); ok {
			i, err := strconv.Atoi(field)
			if err != nil || i >= len(list) {
				t.Fatalf("%s: no element %s", path, field)
			}
			tree = list[i]
			continue
		}
		if tree = valueIn(tree, field); tree == nil {
			t.Fatalf("%s: no field %s", path, field)
		}
	}
	var decoded map[string]any
	if value != "-" {
		var err error
		if decoded, err = attest.DecodeStrict([]byte(`{"value":`+value+`}`), attest.MaxDepth); err != nil {
			t.Fatal(err)
		}
	}
	switch parent := tree.(type) {
	case map[string]any:
		if value == "-" {
			delete(parent, last)
			return
		}
		parent[last] = decoded["value"]
	case []any:
		i, err := strconv.Atoi(last)
		if err != nil || value == "-" {
			t.Fatalf("%s: %v", path, err)
		}
		parent[i] = decoded["value"]
	default:
		t.Fatalf("%s: nothing there", path)
	}
}

func TestReadScan(t *testing.T) {
	trivyDatabase := time.Date(2026, 11, 22, 6, 14, 30, 123456789, time.UTC)
	tests := []struct {
		file, predicateType string
		database            time.Time
		want                []vulnerability
	}{
		{"scan-trivy.json", typeScanCosign, trivyDatabase, []vulnerability{
			{"CVE-2024-6119", severityHigh, "libcrypto3", "3.1.4-r5", "pkg:apk/alpine/libcrypto3@3.1.4-r5?arch=x86_64&distro=3.19.1", "3.1.7-r0", false},
			{"CVE-2024-6119", severityHigh, "libssl3", "3.1.4-r5", "pkg:apk/alpine/libssl3@3.1.4-r5?arch=x86_64&distro=3.19.1", "3.1.7-r0", false},
			{"CVE-2023-42366", severityMedium, "busybox", "1.36.1-r15", "pkg:apk/alpine/busybox@1.36.1-r15?arch=x86_64&distro=3.19.1", "", true},
			{"CVE-2024-45337", severityCritical, "golang.org/x/crypto", "v0.17.0", "pkg:golang/golang.org/x/crypto@v0.17.0", "0.31.0", false}, // in two binaries
			{"CVE-2025-22868", severityUnknown, "golang.org/x/oauth2", "v0.15.0", "pkg:golang/golang.org/x/oauth2@v0.15.0", "0.27.0", false},
		}},
		{"scan-grype.json", typeScanCosign, time.Date(2026, 11, 22, 1, 31, 43, 0, time.UTC), []vulnerability{
			{"CVE-2023-4911", severityHigh, "libc6", "2.36-9+deb12u1", "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=glibc", "2.36-9+deb12u3", false},
			{"GHSA-xvch-5gv4-984h", severityCritical, "minimist", "1.2.5", "pkg:npm/minimist@1.2.5", "1.2.6", false},
			{"CVE-2010-4756", severityNegligible, "libc6", "2.36-9+deb12u1", "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1?arch=amd64&distro=debian-12&upstream=glibc", "", true},
		}},
		{"scan-intoto-v0.1.json", typeScanInTotoV01, trivyDatabase.Truncate(time.Second).Add(520 * time.Millisecond), []vulnerability{{id: "CVE-2024-6119", severity: severityHigh}}},
		{"scan-intoto-v0.2.json", typeScanInTotoV02, trivyDatabase.Truncate(time.Second).Add(520 * time.Millisecond), []vulnerability{
			{id: "CVE-2024-6119", severity: severityHigh}, {id: "CVE-2023-42366", severity: severityMedium}}},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			s, err := readScan(tt.predicateType, predicateOf(t, tt.file))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(s.found, tt.want) {
				t.Errorf("got  %+v\nwant %+v", s.found, tt.want)
			}
			if s.undated != nil || !s.database.Equal(tt.database) {
				t.Errorf("database %s, %v; want %s", s.database, s.undated, tt.database)
			}
		})
	}
}

// What cannot be read is never a scan without findings.
func TestReadScanRefuses(t *testing.T) {
	const trivy, grype, v1, v2 = "scan-trivy.json", "scan-grype.json", "scan-intoto-v0.1.json", "scan-intoto-v0.2.json"
	results := "scanner/result/Results"
	tests := []struct {
		name, file string
		changes    []string
		want       string
	}{
		{"no scanner", trivy, []string{"scanner", "-"}, "has no scanner"},
		{"scanner of another kind", trivy, []string{"scanner", `"trivy"`}, "has no scanner"},
		{"no scanners", trivy, []string{"scanner", "-", "scanners", "[]"}, "has no scanner"},
		{"scanner and scanners", trivy, []string{"scanners", `[{"result":{}}]`}, "has no scanner"},
		{"scanners of another kind", trivy, []string{"scanner", "-", "scanners", "[1]"}, "no object"},
		{"no result", trivy, []string{"scanner/result", "-"}, "cannot be read as trivy or grype"},
		{"null result", trivy, []string{"scanner/result", "null"}, "cannot be read as trivy or grype"},
		{"empty result", trivy, []string{"scanner/result", "{}"}, "cannot be read as trivy or grype"},
		{"result in a string", trivy, []string{"scanner/result", `"{}"`}, "cannot be read as trivy or grype"},
		{"in-toto's result under cosign's type", trivy, []string{"scanner/result", "[]"}, "cannot be read as trivy or grype"},
		{"trivy of the first schema", trivy, []string{"scanner/result", `[{"Target":"x","Vulnerabilities":null}]`}, "cannot be read as trivy or grype"},
		{"trivy of another schema", trivy, []string{"scanner/result/SchemaVersion", "3"}, "schema 3"},
		{"another scanner that lists matches", grype, []string{"scanner/result/descriptor/name", `"grope"`}, "cannot be read as trivy or grype"},
		{"grype without matches", grype, []string{"scanner/result/matches", "-"}, "cannot be read as trivy or grype"},
		{"grype with null matches", grype, []string{"scanner/result/matches", "null"}, "cannot be read as trivy or grype"},
		{"both", grype, []string{"scanner/result/SchemaVersion", "2", "scanner/result/Results", `[{"Class":"os-pkgs"}]`}, "cannot be read as trivy or grype"},
		{"SARIF", trivy, []string{"scanner/result", `{"version":"2.1.0","runs":[{"results":[]}]}`}, "cannot be read as trivy or grype"},

		{"trivy scanned nothing", trivy, []string{results, "-"}, "names no packages that were scanned"},
		{"trivy with no results", trivy, []string{results, "[]"}, "names no packages that were scanned"},
		{"trivy of secrets alone", trivy, []string{results, `[{"Target":"/etc/key","Class":"secret","Secrets":[]}]`}, "names no packages that were scanned"},
		{"trivy results no list", trivy, []string{results, `{"0":{}}`}, "the Results are no list"},
		{"trivy result no object", trivy, []string{results + "/1", `"x"`}, "result 1 is no object"},
		{"trivy vulnerabilities no list", trivy, []string{results + "/0/Vulnerabilities", `{}`}, "Vulnerabilities of result 0 are no list"},
		{"trivy finding no object", trivy, []string{results + "/0/Vulnerabilities/1", `"CVE-1"`}, "finding 1 has no id"},
		{"trivy finding without id", trivy, []string{results + "/0/Vulnerabilities/2/VulnerabilityID", "-"}, "finding 2 has no id"},
		{"trivy hidden no list", trivy, []string{results + "/0/ExperimentalModifiedFindings", "{}"}, "hides are no list"},
		{"trivy hidden without finding", trivy, []string{results + "/0/ExperimentalModifiedFindings", `[{"Type":"vulnerability"}]`}, "has no id"},
		{"grype match without vulnerability", grype, []string{"scanner/result/matches/1/vulnerability", "-"}, "finding 1 has no id"},
		{"grype id of another kind", grype, []string{"scanner/result/matches/1/vulnerability/id", "7"}, "finding 1 has no id"},
		{"grype ignored no list", grype, []string{"scanner/result/ignoredMatches", "{}"}, "ignoredMatches are no list"},

		{"in-toto without result", v2, []string{"scanner/result", "-"}, "result is no list"},
		{"in-toto null result", v2, []string{"scanner/result", "null"}, "result is no list"},
		{"in-toto with trivy's result", v2, []string{"scanner/result", `{"SchemaVersion":2,"Results":[]}`}, "result is no list"},
		{"in-toto empty and unnamed", v2, []string{"scanner/result", "[]", "scanner/uri", "-"}, "which scanner"},
		{"in-toto empty and unfinished", v2, []string{"scanner/result", "[]", "metadata/scanFinishedOn", "-"}, "scan was finished"},
		{"in-toto finished some day", v2, []string{"metadata/scanFinishedOn", `"some day"`}, "scan was finished"},
		{"in-toto finding no object", v2, []string{"scanner/result/1", "null"}, "finding 1 has no id"},
		{"in-toto two ids", v1, []string{"scanner/result/0/id", `"CVE-1"`}, "two ids"},
		{"another version", "", nil, "cannot be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			predicateType, file := typeScanCosign, tt.file
			switch tt.file {
			case v1:
				predicateType = typeScanInTotoV01
			case v2:
				predicateType = typeScanInTotoV02
			case "":
				predicateType, file = "https://in-toto.io/attestation/vulns/v0.3", v2
			}
			s, err := readScan(predicateType, predicateOf(t, file, tt.changes...))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %q", s, err, tt.want)
			}
		})
	}
	if _, err := readScan(typeScanCosign, nil); err == nil {
		t.Error("no predicate passed")
	}
}

// What a scanner found and was told to hide counts; nobody whom the policy names said so.
func TestReadScanHidden(t *testing.T) {
	hidden := `[{"Type":"vulnerability","Status":"not_affected","Source":"vex.json","Finding":{"VulnerabilityID":"CVE-1","PkgName":"p","Severity":"CRITICAL"}},
		{"Type":"secret","Finding":{"RuleID":"aws"}}]`
	ignored := "scanner/result/ignoredMatches/0/appliedIgnoreRules"
	kernel := `{"namespace":"","package":{"name":"linux-libc-dev","language":"","type":"deb","upstream-name":"linux"},"match-type":"exact-indirect-match"}`
	for name, tt := range map[string]struct {
		file    string
		changes []string
		found   int
		id      string
	}{
		"trivy":               {"scan-trivy.json", []string{"scanner/result/Results/0/ExperimentalModifiedFindings", hidden}, 6, "CVE-1"},
		"trivy, its new name": {"scan-trivy.json", []string{"scanner/result/Results/1/ModifiedFindings", hidden}, 6, "CVE-1"},
		"grype by VEX":        {"scan-grype.json", []string{ignored, `[{"namespace":"vex","vex-status":"not_affected"}]`}, 4, "CVE-2024-26581"},
		"grype by id":         {"scan-grype.json", []string{ignored, `[{"vulnerability":"CVE-2024-26581","namespace":""}]`}, 4, "CVE-2024-26581"},
		"grype by fix":        {"scan-grype.json", []string{ignored, `[{"fix-state":"wont-fix","namespace":""}]`}, 4, "CVE-2024-26581"},
		"grype by package":    {"scan-grype.json", []string{ignored, `[{"namespace":"","package":{"name":"linux-libc-dev"}}]`}, 4, "CVE-2024-26581"},
		"grype by both":       {"scan-grype.json", []string{ignored, `[` + kernel + `,{"vulnerability":"CVE-2024-26581","namespace":""}]`}, 4, "CVE-2024-26581"},
		"grype by neither":    {"scan-grype.json", []string{ignored, `[]`}, 4, "CVE-2024-26581"},
		"grype disguised":     {"scan-grype.json", []string{ignored, `[` + strings.Replace(kernel, `"namespace":""`, `"namespace":"","vulnerability":"CVE-2024-26581"`, 1) + `]`}, 4, "CVE-2024-26581"},
		"grype of itself":     {"scan-grype.json", []string{ignored, `[` + kernel + `]`}, 3, "CVE-2010-4756"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readScan(typeScanCosign, predicateOf(t, tt.file, tt.changes...))
			if err != nil {
				t.Fatal(err)
			}
			if len(s.found) != tt.found || !slices.ContainsFunc(s.found, func(v vulnerability) bool { return v.id == tt.id }) {
				t.Errorf("found %+v", s.found)
			}
		})
	}
}

func TestReadScanCounts(t *testing.T) {
	results := "scanner/result/Results"
	twice := func(first, second string) []string {
		return []string{results, `[{"Class":"os-pkgs","Vulnerabilities":[{"VulnerabilityID":"CVE-1",` + first + `},{"VulnerabilityID":"CVE-1",` + second + `}]}]`}
	}
	for name, tt := range map[string]struct {
		changes []string
		found   int
		worst   severity
	}{
		"nothing found":               {[]string{results, `[{"Target":"alpine","Class":"os-pkgs","Type":"alpine"}]`}, 0, severityUnknown},
		"null vulnerabilities":        {[]string{results, `[{"Class":"lang-pkgs","Vulnerabilities":null}]`}, 0, severityUnknown},
		"two packages":                {twice(`"PkgName":"a","InstalledVersion":"1"`, `"PkgName":"b","InstalledVersion":"1"`), 2, severityUnknown},
		"two versions":                {twice(`"PkgName":"a","InstalledVersion":"1"`, `"PkgName":"a","InstalledVersion":"2"`), 2, severityUnknown},
		"one package":                 {twice(`"PkgName":"a","InstalledVersion":"1","Severity":"LOW"`, `"PkgName":"a","InstalledVersion":"1","Severity":"HIGH"`), 1, severityHigh},
		"one package, worse at first": {twice(`"PkgName":"a","Severity":"HIGH"`, `"PkgName":"a","Severity":"UNKNOWN"`), 1, severityHigh},
		"two ecosystems":              {twice(`"PkgName":"a","PkgIdentifier":{"PURL":"pkg:npm/a@1"}`, `"PkgName":"a","PkgIdentifier":{"PURL":"pkg:pypi/a@1"}`), 2, severityUnknown},
		"ids differ in case":          {[]string{results, `[{"Vulnerabilities":[{"VulnerabilityID":"CVE-1","PkgName":"a"},{"VulnerabilityID":"cve-1","PkgName":"a"}]}]`}, 2, severityUnknown},
		"several scanners": {[]string{"scanner", "-", "scanners", `[{"result":{"SchemaVersion":2,"Results":[{"Vulnerabilities":[{"VulnerabilityID":"CVE-1"}]}]}},
			{"result":{"matches":[{"vulnerability":{"id":"CVE-2","severity":"Low"}}],"descriptor":{"name":"grype"}}}]`}, 2, severityLow},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readScan(typeScanCosign, predicateOf(t, "scan-trivy.json", tt.changes...))
			if err != nil {
				t.Fatal(err)
			}
			got := severityUnknown
			for _, v := range s.found {
				got = worst(got, v.severity)
			}
			if len(s.found) != tt.found || got != tt.worst {
				t.Errorf("found %d, at worst %s: %+v", len(s.found), got, s.found)
			}
		})
	}
	s, err := readScan(typeScanInTotoV02, predicateOf(t, "scan-intoto-v0.2.json", "scanner/result", "[]"))
	if err != nil || len(s.found) != 0 {
		t.Errorf("an empty list of in-toto means that nothing was found: %v", err)
	}
}

func TestReadScanBound(t *testing.T) {
	list := make([]any, maxVulnerabilities)
	for i := range list {
		list[i] = map[string]any{"id": "CVE-" + strconv.Itoa(i)}
	}
	tree := predicateOf(t, "scan-intoto-v0.2.json")
	tree["scanner"].(map[string]any)["result"] = list
	if s, err := readScan(typeScanInTotoV02, tree); err != nil || len(s.found) != maxVulnerabilities {
		t.Errorf("at the limit: %v", err)
	}
	tree["scanner"].(map[string]any)["result"] = append(list, map[string]any{"id": "one more"})
	if _, err := readScan(typeScanInTotoV02, tree); err == nil || !strings.Contains(err.Error(), "more than 50000 findings") {
		t.Errorf("over the limit: %v", err)
	}
}

func TestSeverities(t *testing.T) {
	for word, want := range map[string]severity{
		"CRITICAL": severityCritical, "Critical": severityCritical, "High": severityHigh, "Important": severityHigh, "MODERATE": severityMedium,
		"Medium": severityMedium, "low": severityLow, "Negligible": severityNegligible, "None": severityNegligible, "UNKNOWN": severityUnknown, "": severityUnknown, "criticaI": severityUnknown,
	} {
		if got := parseSeverity(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
	for score, want := range map[float64]severity{
		0: severityNegligible, 0.1: severityLow, 3.9: severityLow, 4: severityMedium, 6.9: severityMedium, 7: severityHigh, 8.9: severityHigh,
		9: severityCritical, 10: severityCritical, 10.1: severityUnknown, -1: severityUnknown,
	} {
		if got := scoreSeverity(score); got != want {
			t.Errorf("%v is %s, want %s", score, got, want)
		}
	}
	for ratings, want := range map[string]severity{
		`[]`: severityUnknown, `null`: severityUnknown, `"high"`: severityUnknown, `[null, 1]`: severityUnknown,
		`[{"method":"nvd","score":"9.8"}]`:                                               severityCritical,
		`[{"method":"CVSS_V3","score":9}]`:                                               severityCritical,
		`[{"method":"CVSS_V3","score":7.5}]`:                                             severityHigh,
		`[{"method":"nvd","score":"medium"},{"method":"redhat","score":"Important"}]`:    severityHigh,
		`[{"method":"EPSS","score":"0.1"}]`:                                              severityUnknown,
		`[{"method":"risk","score":3}]`:                                                  severityUnknown,
		`[{"method":"risk","score":3.5}]`:                                                severityUnknown,
		`[{"method":"CVSS:3.1","score":"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]`: severityUnknown,
		`[{"method":"cvss","score":"NaN"}]`:                                              severityUnknown,
		`[{"method":"cvss","score":"98"},{"method":"nvd","score":"low"}]`:                severityLow,
	} {
		tree, err := attest.DecodeStrict([]byte(`{"r":`+ratings+`}`), attest.MaxDepth)
		if err != nil {
			t.Fatal(err)
		}
		if got := ratedSeverity(tree["r"]); got != want {
			t.Errorf("%s is %s, want %s", ratings, got, want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"openssl": "openssl", "a\x1b[31mb": "a[31mb", "a\nb": "ab", "\xffx": "x", "a\u202eb": "ab", "é": "é",
		strings.Repeat("x", 101): strings.Repeat("x", 100) + "…",
	} {
		if got := printable(text); got != want {
			t.Errorf("printable(%q) = %q, want %q", text, got, want)
		}
	}
}
