package policy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/attest"
)

// seeds adds the predicates of testdata whose names begin in one way.
func seeds(f *testing.F, prefix string) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", prefix+"*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds %s: %v", prefix, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
}

// FuzzReadScan: what reads is well-formed, each finding is there once, what does not read
// says why, and the predicate stays as it is.
func FuzzReadScan(f *testing.F) {
	seeds(f, "scan")
	f.Add([]byte(`{"scanner":{"uri":"x","result":[]},"metadata":{"scanFinishedOn":"2026-11-22T11:00:05Z"}}`))
	f.Add([]byte(`{"scanners":[{"result":{"SchemaVersion":2,"Results":[{"Class":"os-pkgs"}]}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		predicate, err := attest.DecodeStrict(raw, attest.MaxDepth)
		if err != nil {
			return
		}
		before, err := json.Marshal(predicate)
		if err != nil {
			t.Fatal(err)
		}
		for _, predicateType := range []string{typeScanCosign, typeScanInTotoV01, typeScanInTotoV02} {
			s, err := readScan(predicateType, predicate)
			if err != nil {
				if s != nil || err.Error() == "" {
					t.Fatalf("%+v beside %v", s, err)
				}
				continue
			}
			if s.undated == nil == s.database.IsZero() {
				t.Fatalf("database %s, %v", s.database, s.undated)
			}
			seen := map[findingKey]bool{}
			for _, v := range s.found {
				if v.id == "" || !slices.Contains(severities(), v.severity) || v.unfixed && v.fix != "" {
					t.Fatalf("finding %+v", v)
				}
				key := findingKey{v.id, v.purl}
				if v.purl == "" && v.name != "" {
					key.pkg = v.name + "@" + v.version
				}
				if seen[key] {
					t.Fatalf("twice: %+v", v)
				}
				seen[key] = true
			}
		}
		if after, err := json.Marshal(predicate); err != nil || string(after) != string(before) {
			t.Fatal("reading changed the predicate")
		}
	})
}

// FuzzVEX: whatever a document says, it takes a finding out only where it names the
// vulnerability, and either the artifact's digest or no product at all; and never by a
// status or a justification that was not asked for.
func FuzzVEX(f *testing.F) {
	seeds(f, "openvex")
	f.Add([]byte(`{"@context":"https://openvex.dev/ns","timestamp":"2026-11-20T00:00:00Z","statements":[{"vulnerability":"CVE-2024-45337","products":["pkg:oci/app@` + root.String() + `"],"subcomponents":["pkg:npm/a@1"],"status":"fixed"}]}`))
	f.Add([]byte(`{"@context":"https://openvex.dev/ns","statements":[{"vulnerability":{"name":"CVE-2024-45337"},"status":"not_affected","justification":"component_not_present","last_updated":"2026-11-20T00:00:00Z"}]}`))
	keys := newKeyring(f, "a", "b", "c")
	s := scene{f, keys}
	p := load(f, keys, scannedBy("max: {critical: 0, unknown: 9}, vex: {authorities: [b], statuses: [not_affected], justifications: [component_not_present]}", ""))
	scan := s.scanned("scan-trivy.json")
	f.Fuzz(func(t *testing.T, raw []byte) {
		predicate, err := attest.DecodeStrict(raw, attest.MaxDepth)
		if err != nil {
			return
		}
		s := scene{t, keys}
		vex := s.signed("vex", typeOpenVEX, predicate, "b")
		verdict := p.Evaluate(s.facts(scan, vex))
		if strings.Contains(verdict.Rules[0].Message, "could not be evaluated") {
			t.Fatal(verdict.Rules[0].Message)
		}
		stranger := s.signed("vex", typeOpenVEX, predicate, "a")
		if p.Evaluate(s.facts(scan, stranger)).Allowed {
			t.Fatal("VEX of an author who is not listed took a finding out")
		}
		if !verdict.Allowed {
			return
		}
		// What all it must have said; the tree is compared, not the text.
		statements, _ := predicate["statements"].([]any)
		if !slices.ContainsFunc(statements, func(item any) bool {
			encoded, _ := json.Marshal(item)
			text := string(encoded)
			return valueIn(item, "status") == "not_affected" && valueIn(item, "justification") == "component_not_present" &&
				strings.Contains(text, "CVE-2024-45337") && (valueIn(item, "products") == nil || strings.Contains(text, root.Encoded()))
		}) {
			t.Fatalf("taken out by %s", raw)
		}
		affected := map[string]any{"@context": "https://openvex.dev/ns", "statements": []any{map[string]any{"vulnerability": "CVE-2024-45337", "status": vexAffected}}}
		if p.Evaluate(s.facts(scan, vex, s.signed("undated", typeOpenVEX, affected, "b"))).Allowed {
			t.Fatal("a statement that may be newer did not open it again")
		}
	})
}
