package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

func TestVerdictTable(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	p.width = 60
	remedy := "sluice attest h/dev/acme/app@sha256:0 --type https://slsa.dev/provenance/v1 --predicate provenance.json --key ci.key"
	p.verdict(policy.Verdict{Rules: []policy.Rule{
		{Name: "built", Mode: policy.Enforce, Allowed: true, Message: "sha256:aaaa by ci"},
		{Name: "provenance", Mode: policy.Enforce, Message: "no attestation https://slsa.dev/provenance/v1 by ci: and a reason\x1b[31m that is long", Remedy: remedy},
		{Name: "scan", Mode: policy.Warn, Message: "no scan", Remedy: remedy},
		{Name: "old", Mode: policy.Off, Allowed: true, Message: "not evaluated: the rule is off"},
	}}, "  ")
	want := `     RULE         WHAT WAS FOUND
  ✓  built        sha256:aaaa by ci
  ✗  provenance   no attestation
                  https://slsa.dev/provenance/v1 by ci: and
                  a reason�[31m that is long
  !  scan (warn)  no scan
  –  old (off)    not evaluated: the rule is off

  What is missing would come with:
    ` + remedy + "\n"
	if got := out.String(); got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

func TestEvidenceTable(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	p.width = 400
	d := digest.FromString("artifact")
	row := func(e attest.Evidence) evidenceRow {
		e.Manifest, e.Subject, e.PredicateType = digest.FromString("m"), d, attest.PredicateTypeSign
		return evidenceRow{e, e.Verified()}
	}
	keyless := attest.Signer{Authority: "gha", Issuer: "https://i", Subject: "https://github.com/acme\x1b[31m"}
	p.evidence(evidenceList{"h/dev/acme/app:1.0", d, []evidenceRow{
		row(attest.Evidence{Format: attest.FormatCosignSig, Signers: []attest.Signer{{Authority: "ci"}, keyless}, SignedAt: time.Date(2026, 11, 22, 13, 0, 0, 0, time.FixedZone("", 3600))}),
		row(attest.Evidence{Format: attest.FormatBundle, Problem: "no authority signed it"}),
	}})
	for _, want := range []string{
		"FORMAT", "cosign-sig", "2026-11-22T12:00:00Z", "signed by ci, gha (https://github.com/acme�[31m)", "sigstore-bundle", "–", "no authority signed it",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestPromotionOutput(t *testing.T) {
	p := promote.Promotion{ID: "01", State: promote.Succeeded, Repository: "acme/app", Digest: "sha256:0123456789abcdef0123", From: "dev", To: "stable",
		Tags: []string{"1.0", "latest"}, Moved: promote.Moved{Manifests: 1, Blobs: 2, Bytes: 1536, Copied: 3}, Summary: "sha256:feed",
		Left: []promote.Left{{Digest: "sha256:beef", Reason: "a runnable image does not rise as a referrer"}}}
	for state, want := range map[promote.State][]string{
		promote.Succeeded: {"✓ dev/acme/app@sha256:0123456789ab rose to stable as stable/acme/app:1.0, stable/acme/app:latest.", "1 manifest and 2 blobs, 1.5 KiB: 3 copied", "summary sha256:feed", "! sha256:beef stayed behind: a runnable image"},
		promote.Failed:    {"did not rise to stable: the policy says no"},
		promote.Errored:   {"nothing was let through"},
	} {
		var out bytes.Buffer
		p.State = state
		newPrinter(&out).promotion(p)
		for _, text := range want {
			if !strings.Contains(out.String(), text) {
				t.Errorf("%s: %q is missing in\n%s", state, text, &out)
			}
		}
	}
}

func TestStatusOutput(t *testing.T) {
	refused := &policy.Verdict{Rules: []policy.Rule{{Name: "sbom", Mode: policy.Enforce, Message: "no SBOM"}, {Name: "nice", Mode: policy.Warn}}}
	s := repositoryStatus{Host: "h", Repository: "acme/app", Tiers: []tierStatus{
		{Tier: "dev", Artifacts: []artifactStatus{
			{Tags: []string{"2.0"}, Digest: "sha256:22", CreatedAt: time.Unix(0, 0), Next: []gateStatus{{To: "stable", Verdict: refused}}},
			{Tags: []string{"1.0"}, Digest: "sha256:11", CreatedAt: time.Unix(0, 0), Next: []gateStatus{{To: "stable", Passed: true}}},
		}},
		{Tier: "stable", Artifacts: []artifactStatus{{Tags: []string{"1.0"}, Digest: "sha256:11", CreatedAt: time.Unix(0, 0), Next: []gateStatus{{To: "release", Verdict: &policy.Verdict{Allowed: true}}}}}},
		{Tier: "release"},
		{Tier: "secret", Unreadable: "denied"},
	}}
	var out bytes.Buffer
	newPrinter(&out).status(s)
	for _, want := range []string{"stable wants sbom\n", "stands in stable", "What stable wants of 2.0:", "no SBOM", "may rise to release", "sluice promote h/stable/acme/app:1.0 --to release", "nothing yet", "denied"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
}

func TestColourIsForTerminals(t *testing.T) {
	p := newPrinter(&bytes.Buffer{})
	if got := p.style(red, "no"); got != "no" {
		t.Errorf("text for a file is coloured: %q", got)
	}
	p.colour = true
	if got := p.style(red, "no"); got != "\x1b[31mno\x1b[0m" {
		t.Errorf("text for a terminal is %q", got)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputThatCannotBeWritten(t *testing.T) {
	var stderr bytes.Buffer
	for _, args := range [][]string{{"version"}, {"version", "-o", "json"}} {
		if code := run(t.Context(), args, strings.NewReader(""), fullDisk{}, &stderr); code != exitFailed {
			t.Errorf("%v: exit code %d although nothing was written", args, code)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 20: "5.0 MiB", 3 << 40: "3.0 TiB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %q, want %q", n, got, want)
		}
	}
}
