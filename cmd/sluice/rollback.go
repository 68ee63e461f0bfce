package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

func rollbackCommand() *cobra.Command {
	var out output
	var conn connection
	var to, reason string
	var dryRun, wait bool
	var waitFor time.Duration
	cmd := &cobra.Command{
		Use:   "rollback REF",
		Short: "Move a tag of a tier back to what it named before",
		Long: `Ask the registry to move a tag above dev back to an artifact that it named before: the one
before the last, or the one that --to names. The policy of the tier decides about that as it
does about any promotion, over the evidence that there is now, and the tag moves in one step.

What the tag names now stays in the tier, under its digest and its other tags, and the tag can
be rolled forward to it again. Exits with 3 where the policy says no.`,
		Example: "  sluice rollback 127.0.0.1:5000/release/acme/app:stable --reason 'CVE-2026-0001'",
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			if ref.Digest != "" {
				return wrongUse(cmd, "%s: want the tag that is to move, without a digest; --to says where to", args[0])
			}
			if to != "" {
				if _, err := oci.ParseDigest(to); err != nil && oci.CheckTag(to) != nil {
					return wrongUse(cmd, "--to %q is neither a digest nor a tag of %s", to, ref.Name())
				}
			}
			c, err := newClient(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			request, err := c.rollback(cmd.Context(), ref, to)
			if err != nil {
				return err
			}
			request.Reason = reason
			if err := waiting(cmd, &request, wait, waitFor); err != nil {
				return err
			}
			if dryRun {
				return evaluate(cmd, c, out, request)
			}
			return promoteAndPrint(cmd, c, out, request)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the digest, or another tag of the repository in that tier (default: what the tag named before)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only ask what the policy would say")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait where nothing but approvals is missing")
	cmd.Flags().DurationVar(&waitFor, "wait-for", 0, "how long it waits, at most 720h; implies --wait (default 168h)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// rollback is the request that moves the tag ref back to what to names.
func (c *client) rollback(ctx context.Context, ref oci.Reference, to string) (promote.Request, error) {
	infos, err := list[tierInfo](ctx, c, "/api/v1/tiers", "tiers", nil)
	if err != nil {
		return promote.Request{}, err
	}
	i := slices.IndexFunc(infos, func(t tierInfo) bool { return t.Name == ref.Tier })
	switch {
	case i < 0:
		return promote.Request{}, fmt.Errorf("%s: there is no tier %s", ref.Host, ref.Tier)
	case infos[i].From == "":
		return promote.Request{}, fmt.Errorf("%s: clients push to %s: move the tag by pushing", ref, ref.Tier)
	}
	now, err := c.resolve(ctx, ref)
	if err != nil {
		return promote.Request{}, err
	}
	request := promote.Request{Repository: ref.Repository, From: infos[i].From, To: ref.Tier, Tags: []string{ref.Tag}, Rollback: true, Replaces: now.Digest}
	if to == "" {
		before, err := c.before(ctx, ref, now.Digest)
		request.Reference = before.String()
		return request, err
	}
	other := ref
	if other.Tag = to; oci.IsDigest(to) {
		other.Tag, other.Digest = "", digest.Digest(to)
	}
	desc, err := c.resolve(ctx, other)
	request.Reference = desc.Digest.String()
	return request, err
}

// before is what the tag ref named before it named now: what the newest promotion of
// another digest put it on.
func (c *client) before(ctx context.Context, ref oci.Reference, now digest.Digest) (digest.Digest, error) {
	query := url.Values{"repository": {ref.Repository}, "to": {ref.Tier}, "state": {string(promote.Succeeded)}, "n": {"100"}}
	for {
		var page struct {
			Promotions []promote.Promotion `json:"promotions"`
			Next       string              `json:"next"`
		}
		if err := c.get(ctx, "/api/v1/promotions", query, &page); err != nil {
			return "", err
		}
		for _, p := range page.Promotions {
			if p.Digest != now && slices.Contains(p.Tags, ref.Tag) {
				return p.Digest, nil
			}
		}
		if page.Next == "" || page.Next == query.Get("last") {
			return "", fmt.Errorf("%s: no promotion has put the tag on anything else", ref)
		}
		query.Set("last", page.Next)
	}
}
