package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	var dryRun, wait bool
	var waitFor time.Duration
	cmd := &cobra.Command{
		Use:   "promote REF --to TIER",
		Short: "Ask that an artifact rise to the tier above",
		Long: `Ask the registry to promote an artifact. It resolves REF to a digest once, evaluates the
policy of the tier above over exactly those bytes, and if it allows, brings the artifact
with its attestations to that tier in one step.

Safe to repeat: the same artifact, tags and evidence are promoted once. Exits with 3 where
the policy says no.

With --wait a promotion that lacks nothing but approvals waits for them in the registry, and
goes through by itself when the last one comes. The command waits along; Ctrl-C leaves the
promotion waiting.`,
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
			if err := waiting(cmd, &request, wait, waitFor); err != nil {
				return err
			}
			if dryRun {
				return evaluate(cmd, c, out, request)
			}
			return promoteAndPrint(cmd, c, out, request)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "the tier to rise to (required)")
	cmd.Flags().StringArrayVar(&tags, "tag", nil, "a tag in the tier above, may be repeated (default: the tag of REF)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only ask what the policy would say")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait where nothing but approvals is missing")
	cmd.Flags().DurationVar(&waitFor, "wait-for", 0, "how long the promotion waits, at most 720h; implies --wait (default 168h)")
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// waiting adds to a request that it waits for approvals.
func waiting(cmd *cobra.Command, request *promote.Request, wait bool, waitFor time.Duration) error {
	request.Wait = wait
	if !cmd.Flags().Changed("wait-for") {
		return nil
	}
	if waitFor < time.Second || waitFor > 720*time.Hour {
		return wrongUse(cmd, "--wait-for %s: want between 1s and 720h", waitFor)
	}
	request.Wait, request.WaitFor = true, waitFor.String()
	return nil
}

// waits says whether a promotion waits for approvals in the registry.
func waits(p promote.Promotion) bool { return p.State == promote.Pending && p.WaitUntil != nil }

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
	told := false
	p, err := c.promote(cmd.Context(), request, func(p promote.Promotion) {
		if waits(p) && !told {
			told = true
			progress.clear()
			tellWaiting(cmd.ErrOrStderr(), p)
		}
		progress.show(p)
	})
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
	case promote.Failed, promote.Pending: // what waits is refused so far
		return errRefused
	}
	return fmt.Errorf("promotion %s of %s/%s to %s: %s", p.ID, request.From, nameOf(request), request.To, printable(orDash(p.Error)))
}

// tellWaiting says once what a promotion waits for, on a terminal or in a job's log.
func tellWaiting(w io.Writer, p promote.Promotion) {
	fmt.Fprintf(w, "Promotion %s waits for approvals until %s; Ctrl-C leaves it waiting in the registry.\n", p.ID, p.WaitUntil.Local().Format("2006-01-02 15:04"))
	if p.Verdict == nil {
		return
	}
	for _, r := range p.Verdict.Rules {
		if r.Mode == policy.Enforce && !r.Allowed {
			fmt.Fprintf(w, "  %s: %s\n  %s\n", printable(r.Name), printable(r.Message), printable(r.Remedy))
		}
	}
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
	return c.await(ctx, p, request.Wait, show)
}

const (
	firstPoll = 50 * time.Millisecond
	lastPoll  = 2 * time.Second
	// maxSilence is how many answers in a row may be missing of a promotion that waits, for
	// days perhaps: a minute's worth.
	maxSilence = 30
)

// await looks at a promotion until its state is final, or, unless patient, until it waits
// for approvals.
func (c *client) await(ctx context.Context, p promote.Promotion, patient bool, show func(promote.Promotion)) (promote.Promotion, error) {
	pause, silence := firstPoll, 0
	for !p.State.Terminal() && (patient || !waits(p)) {
		show(p)
		select {
		case <-ctx.Done():
			if waits(p) {
				return p, fmt.Errorf("promotion %s waits on in the registry for approvals, until %s; look at it with: curl %s/api/v1/promotions/%s; cancel it with: curl -X DELETE %s/api/v1/promotions/%s: %w",
					p.ID, p.WaitUntil.Local().Format(time.RFC3339), c.base(), p.ID, c.base(), p.ID, ctx.Err())
			}
			return p, fmt.Errorf("promotion %s goes on at the server, look at it with: curl %s/api/v1/promotions/%s: %w", p.ID, c.base(), p.ID, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPoll)
		var now promote.Promotion
		if err := c.get(ctx, "/api/v1/promotions/"+url.PathEscape(p.ID), nil, &now); err != nil {
			if silence++; ctx.Err() != nil || waits(p) && silence < maxSilence {
				continue
			}
			return p, fmt.Errorf("promotion %s: %w", p.ID, err)
		}
		p, silence = now, 0
	}
	return p, nil
}
