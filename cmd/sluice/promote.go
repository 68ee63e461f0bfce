package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

func promoteCommand() *cobra.Command {
	var out output
	var conn connection
	var to, reason string
	var tags []string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "promote REF --to TIER",
		Short: "Ask that an artifact rise to the tier above",
		Long: `Ask the registry to promote an artifact. It resolves REF to a digest once, evaluates the
policy of the tier above over exactly those bytes, and if it allows, brings the artifact
with its attestations to that tier in one step.

Safe to repeat: the same artifact, tags and evidence are promoted once. Exits with 3 where
the policy says no.`,
		Example: "  sluice promote 127.0.0.1:5000/dev/acme/app:1.0 --to stable",
		Args:    exactly("REF"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "to")); err != nil {
				return err
			}
			ref, err := parseREF(cmd, args[0])
			if err != nil {
				return err
			}
			if err := checkPromotion(cmd, ref, to, tags); err != nil {
				return err
			}
			c, err := newClient(cmd, conn, ref.Host)
			if err != nil {
				return err
			}
			request := promote.Request{Repository: ref.Repository, Reference: ref.Target(), From: ref.Tier, To: to, Tags: tags, Reason: reason}
			if dryRun {
				return evaluate(cmd, c, out, request)
			}
			return promoteAndPrint(cmd, c, out, request)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the tier to rise to (required)")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "a tag in the tier above, may be repeated (default: the tag of REF)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only ask what the policy would say")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// checkPromotion finds what needs no server to be seen as wrong.
func checkPromotion(cmd *cobra.Command, ref oci.Reference, to string, tags []string) error {
	if to == ref.Tier {
		return wrongUse(cmd, "--to %s: the artifact is in that tier already; name the tier above", to)
	}
	for _, tag := range tags {
		if err := oci.CheckTag(tag); err != nil {
			return wrongUse(cmd, "--tag: %w", err)
		}
	}
	return nil
}

// evaluate asks what the policy would say.
func evaluate(cmd *cobra.Command, c *client, out output, request promote.Request) error {
	verdict, err := c.evaluation(cmd.Context(), request)
	if err != nil {
		return err
	}
	err = out.print(cmd, verdict, func(p *printer) {
		if verdict.Allowed {
			p.line("%s %s/%s would rise to %s: policy %s allows it.", p.style(green, "✓"), request.From, nameOf(request), request.To, verdict.Policy.Name)
		} else {
			p.line("%s %s/%s would not rise to %s: policy %s says no.", p.style(red, "✗"), request.From, nameOf(request), request.To, verdict.Policy.Name)
		}
		p.line("")
		p.verdict(verdict, "")
	})
	if err == nil && !verdict.Allowed {
		return errRefused
	}
	return err
}

func (c *client) evaluation(ctx context.Context, request promote.Request) (policy.Verdict, error) {
	var verdict policy.Verdict
	_, err := c.post(ctx, "/api/v1/evaluations", nil, request, &verdict)
	return verdict, err
}

func promoteAndPrint(cmd *cobra.Command, c *client, out output, request promote.Request) error {
	progress := newProgress(cmd.ErrOrStderr())
	p, err := c.promote(cmd.Context(), request, progress.show)
	progress.clear()
	if err != nil {
		return err
	}
	if err := out.print(cmd, p, func(pr *printer) { pr.promotion(p) }); err != nil {
		return err
	}
	switch p.State {
	case promote.Succeeded:
		return nil
	case promote.Failed:
		return errRefused
	}
	return fmt.Errorf("promotion %s of %s/%s to %s: %s", p.ID, request.From, nameOf(request), request.To, printable(orDash(p.Error)))
}

// nameOf is how a person names what a request is about.
func nameOf(r promote.Request) string {
	if oci.IsDigest(r.Reference) {
		return r.Repository + "@" + r.Reference
	}
	return r.Repository + ":" + r.Reference
}

// promote asks for a promotion and waits until it has come to an end. It asks for an
// answer at once and then looks at how it goes: a large artifact must not hang on one
// connection for as long as it takes.
func (c *client) promote(ctx context.Context, request promote.Request, show func(promote.Promotion)) (promote.Promotion, error) {
	var p promote.Promotion
	resp, err := c.post(ctx, "/api/v1/promotions", http.Header{"Prefer": {"respond-async"}}, request, &p)
	var failed *apiError
	if errors.As(err, &failed) && failed.status == http.StatusUnprocessableEntity && json.Unmarshal(failed.detail, &p) == nil && p.State == promote.Failed {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	if resp.StatusCode != http.StatusAccepted {
		return p, nil
	}
	return c.await(ctx, p, show)
}

const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
)

// await looks at a promotion until its state is final.
func (c *client) await(ctx context.Context, p promote.Promotion, show func(promote.Promotion)) (promote.Promotion, error) {
	pause := firstPoll
	for !p.State.Terminal() {
		show(p)
		select {
		case <-ctx.Done():
			return p, fmt.Errorf("promotion %s goes on at the server, look at it with: curl %s/api/v1/promotions/%s: %w", p.ID, c.base(), p.ID, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPoll)
		var now promote.Promotion
		if err := c.get(ctx, "/api/v1/promotions/"+url.PathEscape(p.ID), nil, &now); err != nil {
			return p, fmt.Errorf("promotion %s: %w", p.ID, err)
		}
		p = now
	}
	return p, nil
}
