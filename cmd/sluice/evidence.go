package main

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

// evidenceRow is an attestation as the API shows it.
type evidenceRow struct {
	attest.Evidence
	Verified bool `json:"verified"`
}

// evidenceList is what the verb prints.
type evidenceList struct {
	Reference string        `json:"reference"`
	Digest    digest.Digest `json:"digest"`
	Evidence  []evidenceRow `json:"evidence"`
}

func evidenceCommand() *cobra.Command {
	var out output
	var conn connection
	cmd := &cobra.Command{
		Use:   "evidence REF",
		Short: "List what is attached to an artifact, and whether it counts",
		Long: `List every attestation attached to an artifact and to the platforms of a multi-platform
image: its type, who signed it, and why it does not count where it does not. Signatures
are verified by the registry against the authorities of its policies.`,
		Example: "  sluice evidence 127.0.0.1:5000/dev/acme/app:1.0",
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			c, err := newInspector(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			found, err := c.evidence(cmd.Context(), ref)
			if err != nil {
				return err
			}
			return out.print(cmd, found, func(p *printer) { p.evidence(found) })
		},
	}
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

func (c *client) evidence(ctx context.Context, ref oci.Reference) (evidenceList, error) {
	desc, err := c.resolve(ctx, ref)
	if err != nil {
		return evidenceList{}, err
	}
	query := url.Values{"repository": {ref.Repository}, "digest": {desc.Digest.String()}}
	rows, err := list[evidenceRow](ctx, c, "/api/v1/tiers/"+url.PathEscape(ref.Tier)+"/evidence", "evidence", query)
	if err != nil {
		return evidenceList{}, err
	}
	return evidenceList{Reference: ref.String(), Digest: desc.Digest, Evidence: rows}, nil
}

func (p *printer) evidence(found evidenceList) {
	p.line("%s", p.style(bold, found.Reference))
	p.line("%s", p.style(dim, found.Digest.String()))
	p.line("")
	if len(found.Evidence) == 0 {
		p.line("Nothing is attached. Attach evidence with: sluice attest %s --type URI --predicate FILE --key FILE", found.Reference)
		return
	}
	rows := make([][]cell, 0, len(found.Evidence))
	for _, e := range found.Evidence {
		about := "artifact"
		if e.Subject != found.Digest {
			about = short(e.Subject)
		}
		mark, what := styled(green, "✓"), cell{}
		if e.Verified {
			what = plain("signed by %s", signerNames(e.Signers))
		} else {
			mark, what = styled(amber, "✗"), styled(amber, "%s", printable(e.Problem))
		}
		rows = append(rows, []cell{mark, plain("%s", printable(orDash(e.PredicateType))), plain("%s", printable(orDash(string(e.Format)))),
			plain("%s", about), plain("%s", short(e.Manifest)), plain("%s", signedAt(e.Evidence)), what})
	}
	p.table("", []string{"", "TYPE", "FORMAT", "ABOUT", "DIGEST", "SIGNED AT", "COUNTS"}, rows)
}

// signerNames names who signed: the authority, and of a certificate whose it is.
func signerNames(signers []attest.Signer) string {
	names := make([]string, len(signers))
	for i, s := range signers {
		names[i] = s.Authority
		if s.Subject != "" {
			names[i] += " (" + s.Subject + ")"
		}
	}
	return printable(strings.Join(names, ", "))
}

// signedAt is the verified time of signing, where there is one.
func signedAt(e attest.Evidence) string {
	if e.SignedAt.IsZero() {
		return orDash("")
	}
	return e.SignedAt.UTC().Format(time.RFC3339)
}

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
