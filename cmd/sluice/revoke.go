package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server"
)

const pathRevocations = "/api/v1/revocations"

// revoking is the flags of sluice revoke.
type revoking struct {
	target
	from, until, reason, issuer string
	dry, wait                   bool
}

func revokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke",
		Short: "Take evidence back: an attestation, or what a key, an identity or a builder made",
		Long: `Take evidence back. From the answer on it counts nowhere, and what stands in the tiers by it is
decided anew: where the policy of its tier says no now, it is reported, or put in quarantine if
the policy says so (spec.onRevoked).`,
		Args: cobra.ArbitraryArgs,
		RunE: needVerb,
	}
	for _, kind := range []struct {
		kind                        promote.RevocationKind
		value, short, long, example string
	}{
		{promote.RevokedAttestation, "DIGEST", "Revoke one attestation, and its copies",
			"Revoke an attestation by the digest of its manifest, as sluice evidence shows it, or of the blob\nin that. Copies of what it signs do not count either.",
			"sha256:… --reason 'the scan was of another image'"},
		{promote.RevokedKey, "KEYID", "Revoke what a key signed",
			"Revoke what a key signed, by its id as sluice evidence -o json shows it. Only a verified timestamp proves\nwhen: without one the time is what the attestation says of itself, and who has stolen the key\nmay say anything. Leave --from out, then.",
			"b2d5ad5e… --reason 'the runner was broken into, ticket 4711' --wait"},
		{promote.RevokedIdentity, "SUBJECT", "Revoke what an identity signed, keyless",
			"Revoke what somebody signed with certificates of an identity, by issuer and subject, letter for\nletter as sluice evidence -o json shows them.",
			"https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main --issuer https://token.actions.githubusercontent.com --reason 'the workflow could be changed by anybody' --from 2026-11-01T00:00:00Z"},
		{promote.RevokedBuilder, "ID", "Revoke what a builder built",
			"Revoke the provenance that names a builder, by its id, letter for letter.",
			"https://ci.example.com/runner/7 --reason 'it was not isolated' --dry-run"},
	} {
		cmd.AddCommand(revokeKindCommand(kind.kind, kind.value, kind.short, kind.long, kind.example))
	}
	return cmd
}

func revokeKindCommand(kind promote.RevocationKind, value, short, long, example string) *cobra.Command {
	var r revoking
	cmd := &cobra.Command{
		Use:     string(kind) + " " + value + " --reason REASON",
		Short:   short,
		Long:    long,
		Example: "  sluice revoke " + string(kind) + " " + example,
		Args:    exactly(value),
		RunE:    func(cmd *cobra.Command, args []string) error { return r.run(cmd, kind, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&r.reason, "reason", "", "why, for whoever is refused; one line of at most 500 characters (required)")
	flags.StringVar(&r.from, "from", "", "only what was signed at this time or later, RFC 3339 (default: all)")
	flags.StringVar(&r.until, "until", "", "only what was signed before this time, RFC 3339 (default: all)")
	if kind == promote.RevokedIdentity {
		flags.StringVar(&r.issuer, "issuer", "", "who vouches for the identity (required)")
	}
	flags.BoolVar(&r.dry, "dry-run", false, "change nothing, and say what would change")
	flags.BoolVar(&r.wait, "wait", false, "wait until all that rested on it is decided anew, and say what changed")
	r.flag(cmd)
	return cmd
}

// request checks the flags.
func (r *revoking) request(cmd *cobra.Command, kind promote.RevocationKind, value string) (promote.RevocationRequest, error) {
	request := promote.RevocationRequest{Kind: kind, Value: value, Issuer: r.issuer, Reason: r.reason}
	err := required(cmd, "reason")
	if kind == promote.RevokedIdentity {
		err = errors.Join(err, required(cmd, "issuer"))
	}
	switch kind {
	case promote.RevokedAttestation:
		if _, wrong := oci.ParseDigest(value); wrong != nil {
			err = errors.Join(err, wrongUse(cmd, "%q: want the digest of an attestation, sha256:… say", value))
		}
	case promote.RevokedKey:
		if id, wrong := hex.DecodeString(value); wrong != nil || len(id) != 32 {
			err = errors.Join(err, wrongUse(cmd, "%q: want a key id, 64 hex digits, as sluice evidence -o json shows it", value))
		}
	}
	for name, t := range map[string]*time.Time{"from": &request.From, "until": &request.Until} {
		text := cmd.Flag(name).Value.String()
		if text == "" {
			continue
		}
		var wrong error
		if *t, wrong = time.Parse(time.RFC3339, text); wrong != nil {
			err = errors.Join(err, wrongUse(cmd, "--%s %q: want a time as 2026-11-01T00:00:00Z is", name, text))
		}
	}
	return request, err
}

func (r *revoking) run(cmd *cobra.Command, kind promote.RevocationKind, value string) error {
	request, err := r.request(cmd, kind, value)
	if err != nil {
		return err
	}
	c, err := r.client(cmd)
	if err != nil {
		return err
	}
	if r.dry {
		all, err := c.revoking(cmd, request)
		if err != nil {
			return err
		}
		return r.out.print(cmd, all, func(p *printer) { p.revoking(request, all) })
	}
	var done server.RevocationView
	if _, err := c.post(cmd.Context(), pathRevocations, nil, request, &done); err != nil {
		return err
	}
	if !r.wait {
		return r.out.print(cmd, done, func(p *printer) {
			p.revocation(done.Revocation)
			p.pending(c, done.Revocation)
		})
	}
	return c.follow(cmd, r.out, done.Revocation)
}

// revoking asks what a revocation would change, a page at a time.
func (c *client) revoking(cmd *cobra.Command, request promote.RevocationRequest) (all server.RevokingView, err error) {
	progress := newProgress(cmd.ErrOrStderr())
	defer progress.clear()
	all.Artifacts = []promote.Redecided{}
	for last := ""; ; {
		query := url.Values{"dryRun": {"true"}}
		if last != "" {
			query.Set("last", last)
		}
		var page server.RevokingView
		if _, err := c.post(cmd.Context(), pathRevocations+"?"+query.Encode(), nil, request, &page); err != nil {
			return all, err
		}
		all.Artifacts = append(all.Artifacts, page.Artifacts...)
		sum := &all.Redecision
		sum.Decided, sum.Rested, sum.Changed = sum.Decided+page.Redecision.Decided, sum.Rested+page.Redecision.Rested, sum.Changed+page.Redecision.Changed
		sum.Quarantined, sum.Reported = sum.Quarantined+page.Redecision.Quarantined, sum.Reported+page.Redecision.Reported
		sum.Restored, sum.Undecided = sum.Restored+page.Redecision.Restored, sum.Undecided+page.Redecision.Undecided
		progress.say(count(sum.Decided, "artifact"))
		if last = page.Next; last == "" {
			return all, nil
		}
	}
}

// revocationResult is a revocation with what it changed.
type revocationResult struct {
	promote.Revocation
	Artifacts []promote.Redecided `json:"artifacts"`
}

// follow waits until all is decided anew, and prints what that came to.
func (c *client) follow(cmd *cobra.Command, out output, r promote.Revocation) error {
	progress := newProgress(cmd.ErrOrStderr())
	r, err := c.decidedAnew(cmd.Context(), r, func(r promote.Redecision) {
		progress.say(fmt.Sprintf("%s decided anew, %d of them changed", count(r.Decided, "artifact"), r.Changed))
	})
	progress.clear()
	if err != nil {
		return err
	}
	return c.printRevocation(cmd, out, r)
}

// decidedAnew looks at a revocation until nothing is pending. The registry may be restarted
// meanwhile.
func (c *client) decidedAnew(ctx context.Context, r promote.Revocation, show func(promote.Redecision)) (promote.Revocation, error) {
	pause, silence := firstPoll, 0
	for r.Redecision.State == promote.RedecisionPending {
		show(r.Redecision)
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("it is revoked, and the registry goes on; look at it with: sluice revocation show %s: %w", r.ID, ctx.Err())
		case <-time.After(pause):
		}
		pause = min(pause*3/2, lastPoll)
		var now promote.Revocation
		if err := c.get(ctx, pathRevocations+"/"+url.PathEscape(r.ID), nil, &now); err != nil {
			var answer *apiError
			refused := errors.As(err, &answer) && answer.status < http.StatusInternalServerError
			if silence++; ctx.Err() != nil || !refused && silence < maxRunSilence {
				continue
			}
			return r, fmt.Errorf("revocation %s: %w", r.ID, err)
		}
		r, silence = now, 0
	}
	return r, nil
}

// printRevocation prints a revocation with all that it changed.
func (c *client) printRevocation(cmd *cobra.Command, out output, r promote.Revocation) error {
	all, err := list[promote.Redecided](cmd.Context(), c, pathRevocations+"/"+url.PathEscape(r.ID)+"/artifacts", "artifacts", nil)
	if err != nil {
		return err
	}
	return out.print(cmd, revocationResult{r, all}, func(p *printer) {
		p.revocation(r)
		p.redecision(r.Redecision, "rested on it", false)
		p.redecided(all)
		if p.pending(c, r); r.Lifted == nil {
			p.whatToDo(c, all)
		}
	})
}
