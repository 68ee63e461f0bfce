package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// backtestPage is how many artifacts are asked about at once: the answer must not take
// longer than a proxy waits.
const backtestPage = 50

// backtestResult is what a policy says of what stands in the tier that it guards.
type backtestResult struct {
	Policy  policy.Identity      `json:"policy"`
	Tier    string               `json:"tier"`
	At      time.Time            `json:"at,omitzero"` // as it was asked; the registry's now where absent
	Looked  int                  `json:"looked"`      // at artifacts
	Failing []promote.Backtested `json:"failing"`
}

// backtestRequest is the body of a request.
type backtestRequest struct {
	Policy     string    `json:"policy"`
	At         time.Time `json:"at,omitzero"`
	Repository string    `json:"repository,omitempty"`
}

func policyBacktestCommand() *cobra.Command {
	var out output
	var conn connection
	var host, tier, at, repository string
	cmd := &cobra.Command{
		Use:   "backtest FILE --tier TIER",
		Short: "Say what already stands in a tier and would fail a policy document",
		Long: `Load a policy document, and have the registry decide by it about everything that stands in
the tier that it guards: what is tagged there, on the evidence that rose with it. Nothing
changes. Exits with 3 where anything would fail.

With --at the policy is asked as at that time: ages, validity of keys and exceptions, and
freezes are judged then, and what came to the tier later is left out. Evidence is what is
attached now. Approvals bind the policy that they were given under, so they do not count
under another.`,
		Example: "  sluice policy backtest policies/release.yaml --tier release --at 2026-11-01T00:00:00Z",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := errors.Join(out.check(cmd), required(cmd, "tier")); err != nil {
				return err
			}
			var when time.Time // the registry's now
			if at != "" {
				var err error
				if when, err = time.Parse(time.RFC3339, at); err != nil {
					return wrongUse(cmd, "--at %q: want a time as 2026-11-01T00:00:00Z is", at)
				}
			}
			pol, err := loadPolicy(args[0])
			if err != nil {
				return err
			}
			if pol.To() != tier {
				return wrongUse(cmd, "--tier %s: the document guards %s", tier, pol.To())
			}
			c, err := newClient(cmd, conn, host)
			if err != nil {
				return err
			}
			progress := newProgress(cmd.ErrOrStderr())
			result, err := c.backtest(cmd.Context(), pol, backtestRequest{string(pol.Canonical()), when, repository},
				func(looked int) { progress.say(count(looked, "artifact")) })
			progress.clear()
			if err != nil {
				return err
			}
			if err := out.print(cmd, result, func(p *printer) { p.backtest(result) }); err != nil {
				return err
			}
			if len(result.Failing) > 0 {
				return errRefused
			}
			return nil
		},
	}
	registryFlag(cmd, &host)
	cmd.Flags().StringVar(&tier, "tier", "", "the tier that the document guards (required)")
	cmd.Flags().StringVar(&at, "at", "", "the time to ask the policy at, RFC 3339 (default: now)")
	cmd.Flags().StringVar(&repository, "repository", "", "a glob over repositories without their tier, acme/** say (default: all)")
	out.flag(cmd)
	conn.flag(cmd)
	return cmd
}

// backtest asks page by page.
func (c *client) backtest(ctx context.Context, pol *policy.Policy, request backtestRequest, show func(looked int)) (backtestResult, error) {
	result := backtestResult{Policy: policy.Identity{Name: pol.Name(), Digest: pol.Digest()}, Tier: pol.To(), At: request.At, Failing: []promote.Backtested{}}
	last := ""
	for {
		var page struct {
			Backtests []promote.Backtested `json:"backtests"`
			Next      string               `json:"next"`
		}
		query := url.Values{"n": {fmt.Sprint(backtestPage)}}
		if last != "" {
			query.Set("last", last)
		}
		if _, err := c.post(ctx, "/api/v1/backtests?"+query.Encode(), nil, request, &page); err != nil {
			return result, err
		}
		for _, one := range page.Backtests {
			if result.Looked++; !one.Allowed {
				result.Failing = append(result.Failing, one)
			}
		}
		show(result.Looked)
		switch page.Next {
		case "":
			return result, nil
		case last:
			return result, fmt.Errorf("%s: the backtest does not get past %q", c.host, last)
		}
		last = page.Next
	}
}

func (p *printer) backtest(r backtestResult) {
	var rows [][]cell
	for _, one := range r.Failing {
		rows = append(rows, []cell{plain("%s", printable(one.Repository+":"+strings.Join(one.Tags, ","))), plain("%s", short(one.Digest)),
			plain("%s", printable(whyNot(one)))})
	}
	if len(rows) > 0 {
		p.table("", []string{"ARTIFACT", "DIGEST", "WHY"}, rows)
		p.line("")
		p.line("%s %d of %s in %s would fail policy %s.", p.style(red, "✗"), len(r.Failing), count(r.Looked, "artifact"), r.Tier, r.Policy.Name)
		return
	}
	p.line("%s none of %s in %s would fail policy %s.", p.style(green, "✓"), count(r.Looked, "artifact"), r.Tier, r.Policy.Name)
}

// whyNot is what refused an artifact.
func whyNot(b promote.Backtested) string {
	if b.Verdict == nil {
		return b.Error
	}
	var reasons []string
	for _, rule := range b.Verdict.Rules {
		if rule.Mode == policy.Enforce && !rule.Allowed {
			reasons = append(reasons, rule.Name+": "+rule.Message)
		}
	}
	return strings.Join(reasons, "; ")
}
