package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers/pulls"
)

const pathPulls = "/api/v1/pulls"

func pullsCommand() *cobra.Command {
	var t target
	var since string
	filters := map[string]*string{"tier": new(string), "repository": new(string), "principal": new(string)}
	cmd := &cobra.Command{
		Use:   "pulls [DIGEST|REF]",
		Short: "Show who pulled what",
		Long: `Show who pulled a digest, or what REF stands for now, from whatever tier and repository; of
what is in others also who pulled those: of a blob the manifests that need it, of a manifest the
indexes that it is in. Without an argument, what the flags ask for.

The registry records pulls of the tiers above those that are pushed to, unless its configuration
says otherwise under pulls. The last seconds may be missing. For who may do everything to all of
the registry (action admin).`,
		Example: `  sluice pulls 127.0.0.1:5000/release/acme/app:1.0
  sluice pulls sha256:… --since 168h --registry 127.0.0.1:5000
  sluice pulls --principal node-7`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("DIGEST|REF")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			for name, value := range filters {
				if *value != "" {
					query.Set(name, *value)
				}
			}
			if since != "" {
				at, err := parseSince(since, time.Now())
				if err != nil {
					return wrongUse(cmd, "--since: %w", err)
				}
				query.Set("since", at.UTC().Format(time.RFC3339))
			}
			c, err := t.pulled(cmd, args, query)
			if err != nil {
				return err
			}
			all, err := list[pulls.Pull](cmd.Context(), c, pathPulls, "pulls", query)
			if err != nil {
				return err
			}
			return t.out.print(cmd, all, func(p *printer) { p.pulls(all) })
		},
	}
	cmd.Flags().StringVar(&since, "since", "", "only what was pulled since then: 168h, or a time as 2026-11-25T10:00:00Z")
	cmd.Flags().StringVar(filters["tier"], "tier", "", "only pulls from this tier")
	cmd.Flags().StringVar(filters["repository"], "repository", "", "only of this repository, without its tier")
	cmd.Flags().StringVar(filters["principal"], "principal", "", "only by this one")
	t.flag(cmd)
	return cmd
}

// pulled finds the registry, and the digest that the argument stands for.
func (t *target) pulled(cmd *cobra.Command, args []string, query url.Values) (*client, error) {
	if len(args) == 0 {
		return t.client(cmd)
	}
	if !strings.Contains(args[0], "/") {
		d, err := oci.ParseDigest(args[0])
		if err != nil {
			return nil, wrongUse(cmd, "%w; want a digest, or HOST/TIER/REPOSITORY:TAG", err)
		}
		query.Set("digest", d.String())
		return t.client(cmd)
	}
	ref, err := parseREF(cmd, args[0])
	if err != nil {
		return nil, err
	}
	if cmd.Flags().Changed("registry") {
		return nil, wrongUse(cmd, "--registry goes with a digest: %s names the registry already", args[0])
	}
	t.host = ref.Host
	c, err := t.client(cmd)
	if err != nil {
		return nil, err
	}
	desc, err := c.resolve(cmd.Context(), ref)
	if err != nil {
		return nil, err
	}
	query.Set("digest", desc.Digest.String())
	return c, nil
}

// parseSince reads a time, or how long ago it was.
func parseSince(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q: want an age as 168h, or a time as 2026-11-25T10:00:00Z", text)
	}
	return at, nil
}

// pulls prints who pulled what.
func (p *printer) pulls(all []pulls.Pull) {
	if len(all) == 0 {
		p.line("Nobody has, as far as it was recorded.")
		return
	}
	rows := make([][]cell, len(all))
	for i, one := range all {
		by := short(one.Digest)
		if one.Tag != "" {
			by += " (" + printable(one.Tag) + ")"
		}
		client := "–"
		if one.Client != "" {
			client = printable(one.Client)
		}
		rows[i] = []cell{plain("%s", printable(one.Principal)), plain("%s/%s", printable(one.Tier), printable(one.Repository)), plain("%s", by),
			plain("%d", one.Count), plain("%s", one.First.Local().Format(time.DateTime)), plain("%s", one.Last.Local().Format(time.DateTime)), plain("%s", client)}
	}
	p.table("", []string{"PRINCIPAL", "REPOSITORY", "DIGEST", "PULLS", "FIRST", "LAST", "CLIENT"}, rows)
}
