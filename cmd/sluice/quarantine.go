package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers"
)

const pathQuarantines = "/api/v1/quarantines"

func quarantineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "quarantine",
		Short: "Keep content from being pulled, in every tier",
		Args:  cobra.ArbitraryArgs,
		RunE:  needVerb,
	}
	cmd.AddCommand(quarantineAddCommand(), quarantineLiftCommand(), quarantineListCommand())
	return cmd
}

func quarantineAddCommand() *cobra.Command {
	var t target
	var reason string
	var lasts time.Duration
	cmd := &cobra.Command{
		Use:   "add DIGEST --reason REASON",
		Short: "Put a digest in quarantine",
		Long: `Put the digest of an index, a manifest, a config or a layer in quarantine. From the answer on
nobody pulls it, nor anything that holds it, in whatever repository of whatever tier, and nothing
that holds it is pushed or promoted. What is attached to it can still be read.

Prints what can be pulled no more, and who has pulled it. The digest need not be in the registry yet. Who may look at
what is in quarantine all the same has the action inspect, or says so: sluice attest does.`,
		Example: "  sluice quarantine add sha256:… --reason 'CVE-2026-4711' --registry 127.0.0.1:5000\n  sluice quarantine add sha256:… --reason 'until we know' --for 48h",
		Args:    exactly("DIGEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			request := server.QuarantineRequest{Digest: digest.Digest(args[0]), Reason: reason}
			if lasts != 0 {
				request.ExpiresAt = time.Now().Add(lasts).UTC()
			}
			if err := errors.Join(checkDigest(cmd, args[0]), required(cmd, "reason")); err != nil {
				return err
			}
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			var done server.QuarantineView
			if _, err := c.post(cmd.Context(), pathQuarantines, nil, request, &done); err != nil {
				return err
			}
			return t.out.print(cmd, done, func(p *printer) { p.quarantined(done) })
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for whoever is refused; one line of at most 1000 characters (required)")
	cmd.Flags().DurationVar(&lasts, "for", 0, "after what time it ends by itself, 48h say; default never")
	t.flag(cmd)
	return cmd
}

func quarantineLiftCommand() *cobra.Command {
	var t target
	var reason string
	cmd := &cobra.Command{
		Use:     "lift DIGEST",
		Short:   "Let a digest be pulled again",
		Example: "  sluice quarantine lift sha256:… --reason 'a false alarm' --registry 127.0.0.1:5000",
		Args:    exactly("DIGEST"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkDigest(cmd, args[0]); err != nil {
				return err
			}
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			q, err := c.lift(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return t.out.print(cmd, q, func(p *printer) {
				p.line("%s %s is in quarantine no more.", p.style(green, "✓"), q.Digest)
				p.line("%s", p.style(dim, "  it was put there by "+printable(q.Owner)+": "+printable(q.Reason)))
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger; one line of at most 1000 characters")
	t.flag(cmd)
	return cmd
}

func quarantineListCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what is in quarantine",
		Example: "  sluice quarantine list --registry 127.0.0.1:5000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			all, err := list[tiers.Quarantine](cmd.Context(), c, pathQuarantines, "quarantines", nil)
			if err != nil {
				return err
			}
			return t.out.print(cmd, all, func(p *printer) { p.quarantines(all) })
		},
	}
	t.flag(cmd)
	return cmd
}

func checkDigest(cmd *cobra.Command, arg string) error {
	if _, err := oci.ParseDigest(arg); err != nil {
		return wrongUse(cmd, "%q: want the digest of an index, manifest, config or layer, sha256:… say", arg)
	}
	return nil
}

func (c *client) lift(ctx context.Context, d, reason string) (q tiers.Quarantine, err error) {
	path := pathQuarantines + "/" + d
	if reason != "" {
		path += "?" + url.Values{"reason": {reason}}.Encode()
	}
	_, err = c.do(ctx, http.MethodDelete, path, nil, nil, &q)
	return q, err
}

func (p *printer) quarantined(v server.QuarantineView) {
	p.line("%s %s is in quarantine: %s", p.style(green, "✓"), v.Digest, printable(v.Reason))
	if !v.ExpiresAt.IsZero() {
		p.line("  until %s", v.ExpiresAt.Local().Format("2006-01-02 15:04:05"))
	}
	rows := make([][]cell, 0, len(v.Affected))
	for _, a := range v.Affected {
		rows = append(rows, []cell{plain("%s", printable(a.Tier)), plain("%s", printable(a.Repository)), plain("%s", short(a.Digest)),
			plain("%s", orDash(printable(strings.Join(a.Tags, " "))))})
	}
	switch {
	case len(rows) > 0:
		p.line("")
		p.line("Nobody can pull any more:")
		p.table("  ", []string{"TIER", "REPOSITORY", "MANIFEST", "TAGS"}, rows)
	case !v.Truncated:
		p.line("  No manifest of any tier is it or holds it.")
	}
	if len(v.PulledBy) > 0 {
		p.line("")
		p.line("Who has it, as far as it was recorded:")
		p.pulls(v.PulledBy)
	}
	if v.Truncated {
		p.line("%s there may be more than is listed here", p.style(amber, "!"))
	}
}

func (p *printer) quarantines(all []tiers.Quarantine) {
	if len(all) == 0 {
		p.line("Nothing is in quarantine.")
		return
	}
	rows := make([][]cell, 0, len(all))
	for _, q := range all {
		until := "–"
		if !q.ExpiresAt.IsZero() {
			until = q.ExpiresAt.Local().Format("2006-01-02 15:04")
		}
		rows = append(rows, []cell{plain("%s", q.Digest), plain("%s", q.CreatedAt.Local().Format("2006-01-02 15:04")), plain("%s", until),
			plain("%s", printable(q.Owner)), plain("%s", printable(q.Reason))})
	}
	p.table("", []string{"DIGEST", "SINCE", "UNTIL", "BY", "WHY"}, rows)
}
