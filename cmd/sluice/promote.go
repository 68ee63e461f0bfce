package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
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

func (p *printer) promotion(m promote.Promotion) {
	from := fmt.Sprintf("%s/%s@%s", m.From, m.Repository, short(m.Digest))
	switch m.State {
	case promote.Succeeded:
		p.line("%s %s rose to %s as %s.", p.style(green, "✓"), from, m.To, tagList(m))
	case promote.Failed:
		p.line("%s %s did not rise to %s: the policy says no.", p.style(red, "✗"), from, m.To)
	default:
		p.line("%s %s did not rise to %s: it could not be decided or done, and nothing was let through.", p.style(red, "✗"), from, m.To)
	}
	p.line("%s", p.style(dim, "  promotion "+m.ID))
	if m.Verdict != nil {
		p.line("%s", p.style(dim, "  policy "+m.Verdict.Policy.Name+" "+short(m.Verdict.Policy.Digest)))
		p.line("")
		p.verdict(*m.Verdict, "")
	}
	if m.State != promote.Succeeded {
		return
	}
	p.line("")
	p.line("Moved %s and %s, %s: %d copied by the store, %d linked, %d streamed.",
		count(m.Moved.Manifests, "manifest"), count(m.Moved.Blobs, "blob"), bytesText(m.Moved.Bytes), m.Moved.Copied, m.Moved.Linked, m.Moved.Streamed)
	if m.Summary != "" {
		p.line("Signed summary %s, attached in %s.", short(m.Summary), m.To)
	}
	for _, l := range m.Left {
		p.line("%s %s stayed behind: %s", p.style(amber, "!"), short(l.Digest), printable(l.Reason))
	}
}

func tagList(m promote.Promotion) string {
	if len(m.Tags) == 0 {
		return fmt.Sprintf("%s/%s@%s", m.To, m.Repository, short(m.Digest))
	}
	names := make([]string, len(m.Tags))
	for i, tag := range m.Tags {
		names[i] = fmt.Sprintf("%s/%s:%s", m.To, m.Repository, tag)
	}
	return strings.Join(names, ", ")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func bytesText(n int64) string {
	const unit = 1 << 10
	value, name := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < unit {
			break
		}
		value, name = value/unit, next
	}
	if name == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, name)
}

// progress is one line on a terminal that says what is waited for; elsewhere nothing.
type progress struct {
	w     io.Writer
	since time.Time
	shown bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{since: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

func (p *progress) show(m promote.Promotion) {
	if p.w == nil {
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s to %s: %s, %s", m.Repository, m.To, strings.ToLower(string(m.State)), time.Since(p.since).Round(100*time.Millisecond))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
