package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// summary is a verification summary that a key signed about an artifact.
type summary struct {
	Reference    string        `json:"reference"`
	Digest       digest.Digest `json:"digest"`
	Verified     bool          `json:"verified"`
	Problems     []string      `json:"problems,omitempty"` // why not
	Attestation  digest.Digest `json:"attestation,omitempty"`
	KeyID        string        `json:"keyId"`
	Result       string        `json:"verificationResult,omitempty"`
	Verifier     string        `json:"verifier,omitempty"`
	ResourceURI  string        `json:"resourceUri,omitempty"`
	Policy       string        `json:"policy,omitempty"`
	TimeVerified string        `json:"timeVerified,omitempty"`
	Levels       []string      `json:"verifiedLevels,omitempty"`

	index    int // among what was found
	stated   policy.Summary
	envelope []byte // the DSSE envelope that was verified
}

// expectation is what a consumer asks of a summary.
type expectation struct {
	verifier string // empty: any whose key it is
	resource string // empty: whatever ends in the reference's tier and repository
	maxAge   time.Duration
}

func verifyCommand() *cobra.Command {
	var out output
	var conn connection
	var key, export string
	var want expectation
	cmd := &cobra.Command{
		Use:   "verify REF --key FILE",
		Short: "Check the summary that the registry signed when it let an artifact rise",
		Long: `Check, as a consumer, that an artifact earned the tier it stands in: find the verification
summaries attached to it, verify their signature with the tier's public key, and see that
the newest one is about this digest in this tier and repository and says PASSED. Nothing
that the registry says otherwise is believed. Exits with 1 where the check fails.

The public keys are at /api/v1/keys; pin the one of the tier that you deploy from.

--export-dsse hands the verified summary to other tools; nothing is written where the check
fails.`,
		Example: `  sluice verify 127.0.0.1:5000/release/acme/app@sha256:… --key release.pub
  sluice verify 127.0.0.1:5000/release/acme/app@sha256:… --key release.pub --export-dsse summary.json`,
		Args: exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "key")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			public, err := loadPublicKey(key)
			if err != nil {
				return err
			}
			c, err := newClient(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			found, err := c.verify(cmd.Context(), ref, attest.Authority{Name: key, Keys: []attest.Key{public}}, want, time.Now())
			if err != nil {
				return err
			}
			if found.Verified && export != "" {
				if err := os.WriteFile(export, found.envelope, 0o644); err != nil {
					return fmt.Errorf("export: %w", err)
				}
			}
			if err := out.print(cmd, found, func(p *printer) { p.summary(found) }); err != nil {
				return err
			}
			if !found.Verified {
				return errPrinted
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "file with the public key of the tier (required)")
	cmd.Flags().StringVar(&want.verifier, "verifier", "", "the verifier id that the summary has to name (default: any)")
	cmd.Flags().StringVar(&want.resource, "resource", "", "the resource URI that the summary has to name (default: one that ends in the tier and repository of REF)")
	cmd.Flags().StringVar(&export, "export-dsse", "", "file to write the DSSE envelope of the verified summary to, as slsa-verifier verify-vsa reads it")
	cmd.Flags().DurationVar(&want.maxAge, "max-age", 0, "how old the summary may be, 720h say (default: any age)")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// verify looks for a summary about what ref names now. The error is for what could not be
// asked; a check that failed is in the answer.
func (c *client) verify(ctx context.Context, ref oci.Reference, signer attest.Authority, want expectation, now time.Time) (summary, error) {
	desc, err := c.resolve(ctx, ref)
	if err != nil {
		return summary{}, err
	}
	repo, err := c.repository(ref.Name())
	if err != nil {
		return summary{}, err
	}
	found, err := attest.Find(ctx, &source{repo: repo}, desc.Digest, attest.Limits{})
	if err != nil {
		return summary{}, c.unreachable(err)
	}
	var evidence []attest.Evidence
	for _, attachment := range found {
		evidence = append(evidence, attest.Verify(attachment, desc.Digest, []attest.Authority{signer}, now))
	}
	out := judge(evidence, ref, want, now)
	if out.Verified {
		if out.envelope, err = attest.Envelope(found[out.index]); err != nil {
			return summary{}, err
		}
	}
	out.Reference, out.Digest, out.KeyID = ref.String(), desc.Digest, signer.Keys[0].ID
	return out, nil
}

// judge decides over what was found: of the summaries that the key signed about the
// resource the newest counts, so that a later FAILED is not hidden behind an old PASSED.
func judge(evidence []attest.Evidence, ref oci.Reference, want expectation, now time.Time) summary {
	var signed []summary
	var problems []string
	for i, e := range evidence {
		switch {
		case e.PredicateType != typeSummary:
			continue
		case !e.Verified():
			problems = append(problems, fmt.Sprintf("summary %s does not count: %s", short(e.Manifest), e.Problem))
			continue
		}
		s := readSummary(e)
		s.index = i
		if problem := s.about(ref, want); problem != "" {
			problems = append(problems, fmt.Sprintf("summary %s does not count: %s", short(e.Manifest), problem))
			continue
		}
		signed = append(signed, s)
	}
	if len(signed) == 0 {
		if len(problems) == 0 {
			problems = []string{"no verification summary is attached: the artifact was not promoted to this tier by the registry, or is no longer what was promoted"}
		}
		return summary{Problems: problems}
	}
	newest := slices.MaxFunc(signed, func(a, b summary) int { return cmp.Compare(a.stated.When().UnixNano(), b.stated.When().UnixNano()) })
	newest.Problems = newest.wrong(want, now)
	newest.Verified = len(newest.Problems) == 0
	return newest
}

// readSummary shows what a summary states.
func readSummary(e attest.Evidence) summary {
	stated := policy.ReadSummary(e.Predicate())
	s := summary{
		Attestation: e.Manifest, Result: stated.Result, Verifier: stated.Verifier, ResourceURI: stated.ResourceURI,
		Policy: stated.PolicyURI, TimeVerified: stated.TimeVerified, Levels: stated.Levels, stated: stated,
	}
	if stated.PolicyDigest != "" {
		s.Policy += "@" + stated.PolicyDigest
	}
	return s
}

// about says why a summary is about something else: a summary of another repository or
// tier that holds the same bytes proves nothing about this one.
func (s summary) about(ref oci.Reference, want expectation) string {
	switch {
	case want.verifier != "" && s.Verifier != want.verifier:
		return fmt.Sprintf("its verifier is %q, not %q", s.Verifier, want.verifier)
	case want.resource != "" && s.ResourceURI != want.resource:
		return fmt.Sprintf("it is about %q, not about %q", s.ResourceURI, want.resource)
	case want.resource != "":
		return ""
	}
	if !s.stated.Names(ref.Name()) {
		return fmt.Sprintf("it is about %q, not about %s", s.ResourceURI, ref.Name())
	}
	return ""
}

// wrong says what a summary about the right thing lacks.
func (s summary) wrong(want expectation, now time.Time) []string {
	const skew = 5 * time.Minute
	var problems []string
	if s.Result != "PASSED" {
		problems = append(problems, fmt.Sprintf("the newest summary says %q, not PASSED", s.Result))
	}
	if s.Verifier == "" {
		problems = append(problems, "the summary names no verifier")
	}
	switch when := s.stated.When(); {
	case when.IsZero():
		problems = append(problems, fmt.Sprintf("the summary's timeVerified %q is no time", s.TimeVerified))
	case when.After(now.Add(skew)):
		problems = append(problems, fmt.Sprintf("the summary is dated %s, which is in the future", s.TimeVerified))
	case want.maxAge > 0 && now.Sub(when) > want.maxAge:
		problems = append(problems, fmt.Sprintf("the summary is %s old, --max-age is %s", now.Sub(when).Round(time.Second), want.maxAge))
	}
	return problems
}

func (p *printer) summary(s summary) {
	if s.Verified {
		p.line("%s %s is verified.", p.style(green, "✓"), s.Reference)
	} else {
		p.line("%s %s is not verified.", p.style(red, "✗"), s.Reference)
	}
	p.line("")
	rows := [][]cell{{plain("digest"), plain("%s", s.Digest)}}
	for _, field := range []struct{ name, value string }{
		{"result", s.Result}, {"verifier", s.Verifier}, {"resource", s.ResourceURI}, {"policy", s.Policy},
		{"levels", strings.Join(s.Levels, ", ")}, {"verified at", s.TimeVerified}, {"key", s.KeyID}, {"summary", s.Attestation.String()},
	} {
		if field.value != "" {
			rows = append(rows, []cell{styled(dim, "%s", field.name), plain("%s", printable(field.value))})
		}
	}
	widths := []int{11, 0}
	for _, row := range rows {
		p.row("  ", widths, row)
	}
	for _, problem := range s.Problems {
		p.line("")
		p.line("%s %s", p.style(red, "✗"), printable(problem))
	}
}
