package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers/runs"
)

func revocationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revocation",
		Short: "Look at what was revoked, and lift it",
		Args:  cobra.ArbitraryArgs,
		RunE:  needVerb,
	}
	cmd.AddCommand(revocationListCommand(), revocationShowCommand(), revocationLiftCommand(), redecideCommand())
	return cmd
}

func revocationListCommand() *cobra.Command {
	var t target
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List what is, or was, revoked",
		Example: "  sluice revocation list --registry 127.0.0.1:5000",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			all, err := list[promote.Revocation](cmd.Context(), c, pathRevocations, "revocations", nil)
			if err != nil {
				return err
			}
			return t.out.print(cmd, all, func(p *printer) { p.revocations(all) })
		},
	}
	t.flag(cmd)
	return cmd
}

func revocationShowCommand() *cobra.Command {
	var t target
	var follow bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show what was revoked, which artifacts that changed, and why",
		Example: "  sluice revocation show 01KAS0Z6Y3T6Q2W8V4N5M7R9XB --follow",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			var r promote.Revocation
			if err := c.get(cmd.Context(), pathRevocations+"/"+url.PathEscape(args[0]), nil, &r); err != nil {
				return err
			}
			if follow {
				return c.follow(cmd, t.out, r)
			}
			return c.printRevocation(cmd, t.out, r)
		},
	}
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "wait until all that rested on it is decided anew")
	t.flag(cmd)
	return cmd
}

func revocationLiftCommand() *cobra.Command {
	var t target
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "lift ID",
		Short: "Let count again what was revoked",
		Long: `Let count again what was revoked. What it changed is decided anew: what passes again comes out of
the quarantine that a revocation put it in.`,
		Example: "  sluice revocation lift 01KAS0Z6Y3T6Q2W8V4N5M7R9XB --reason 'a false alarm' --wait",
		Args:    exactly("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := t.client(cmd)
			if err != nil {
				return err
			}
			path := pathRevocations + "/" + url.PathEscape(args[0])
			if reason != "" {
				path += "?" + url.Values{"reason": {reason}}.Encode()
			}
			var done server.RevocationView
			if _, err := c.do(cmd.Context(), http.MethodDelete, path, nil, nil, &done); err != nil {
				return err
			}
			if wait {
				return c.follow(cmd, t.out, done.Revocation)
			}
			return t.out.print(cmd, done, func(p *printer) {
				p.revocation(done.Revocation)
				p.pending(c, done.Revocation)
			})
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the ledger; one line of at most 500 characters")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until all that it changed is decided anew")
	t.flag(cmd)
	return cmd
}

// redecideCommand is about the runs that decide anew what rested on what was revoked.
func redecideCommand() *cobra.Command {
	var t target
	var detach bool
	j := redecisions()
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Go on deciding anew what rested on what was revoked",
		Long: `Go on deciding anew what rested on what was revoked or lifted. A run begins by itself when that
happens, and again where it was cut off: this is for one that was cancelled.`,
		Example: "  sluice revocation run --registry 127.0.0.1:5000\n  sluice revocation run cancel 01KAS0Z6Y3T6Q2W8V4N5M7R9XB",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return j.begin(cmd, t, server.RedecisionOptions{}, detach)
		},
	}
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	t.flag(cmd)
	j.subcommands(cmd)
	return cmd
}

// redecisions are runs that decide anew.
func redecisions() *job {
	figures := func(r runs.Run) string {
		return fmt.Sprintf("%s, %d changed, %d quarantined, %d restored", count(int(r.Figures["decided"]), "artifact"), r.Figures["changed"], r.Figures["quarantined"], r.Figures["restored"])
	}
	return &job{
		verb: "revocation run", one: "redecision", plural: "redecisions",
		progress: func(r runs.Run) string {
			var at promote.Redeciding
			if json.Unmarshal(r.Progress, &at) != nil || at.Revocation == "" {
				return "it begins"
			}
			return fmt.Sprintf("revocation %s, %s decided anew", at.Revocation, count(at.Decided, "artifact"))
		},
		report: func(p *printer, r runs.Run) {
			p.line("%s %s of %s: %s.", r.State, r.ID, printable(r.Actor), figures(r))
		},
		outcome: func(runs.Run) error { return nil },
		figures: figures,
	}
}

// revokedWhat names what was revoked.
func revokedWhat(kind promote.RevocationKind, value, issuer string) string {
	what := string(kind) + " " + value
	if issuer != "" {
		what += " of " + issuer
	}
	return printable(what)
}

// revokedRange says of what times a revocation is; empty where it is of all.
func revokedRange(from, until time.Time) string {
	var parts []string
	if !from.IsZero() {
		parts = append(parts, "at "+from.UTC().Format(time.RFC3339)+" or later")
	}
	if !until.IsZero() {
		parts = append(parts, "before "+until.UTC().Format(time.RFC3339))
	}
	return strings.Join(parts, " and ")
}

// revocation prints what was revoked, by whom and why.
func (p *printer) revocation(r promote.Revocation) {
	what := revokedWhat(r.Kind, r.Value, r.Issuer)
	if r.Lifted != nil {
		p.line("%s %s counts again: %s lifted revocation %s", p.style(green, "✓"), what, printable(r.Lifted.By), r.ID)
		if r.Lifted.Reason != "" {
			p.line("  %s", printable(r.Lifted.Reason))
		}
		return
	}
	p.line("%s %s counts no more: %s", p.style(red, "!"), what, printable(r.Reason))
	if of := revokedRange(r.From, r.Until); of != "" {
		p.line("  where it was signed %s, or where nothing says when", of)
	}
	p.line("%s", p.style(dim, fmt.Sprintf("  revocation %s of %s, %s", r.ID, printable(r.By), r.CreatedAt.Local().Format("2006-01-02 15:04:05"))))
}

// redecision prints what deciding anew came to.
func (p *printer) redecision(r promote.Redecision, rested string, would bool) {
	p.line("")
	p.line("Of %s above, %d %s.", count(r.Decided, "artifact"), r.Rested, rested)
	if r.Rested > 0 && r.Changed == 0 {
		p.line("The policies say of all of them what they said before.")
	}
	verb := func(did, does string) string {
		if would {
			return "would " + does
		}
		return did
	}
	for _, part := range []struct {
		n    int
		text string
	}{
		{r.Quarantined, "no longer pass and " + verb("are", "be") + " in quarantine"},
		{r.Reported, "no longer pass as before and " + verb("are", "be") + " reported"},
		{r.Restored, "pass again"},
		{r.Undecided, "could not be decided about"},
	} {
		if part.n > 0 {
			p.line("  %d %s", part.n, part.text)
		}
	}
	for _, tier := range r.Skipped {
		p.line("%s tier %s has no policy: nothing was decided there", p.style(amber, "!"), printable(tier))
	}
}

// redecided prints the artifacts of which the policies say something else, and why.
func (p *printer) redecided(all []promote.Redecided) {
	if len(all) == 0 {
		return
	}
	styles := map[promote.Outcome]string{promote.OutcomeQuarantined: red, promote.OutcomeReported: amber, promote.OutcomeRestored: green, promote.OutcomeUndecided: red}
	rows := make([][]cell, 0, len(all))
	for _, a := range all {
		why := a.Error
		if len(a.Rules) > 0 {
			why = a.Rules[0].Name + ": " + a.Rules[0].Message
			if n := len(a.Rules) - 1; n > 0 {
				why += fmt.Sprintf(" (and %d more)", n)
			}
		}
		rows = append(rows, []cell{plain("%s", printable(a.Tier)), plain("%s", printable(a.Repository)), plain("%s", orDash(printable(strings.Join(a.Tags, " ")))),
			plain("%s", short(a.Digest)), styled(styles[a.Outcome], "%s", a.Outcome), plain("%s", printable(why))})
	}
	p.line("")
	p.table("", []string{"TIER", "REPOSITORY", "TAGS", "MANIFEST", "OUTCOME", "WHY"}, rows)
}

// revoking prints what a revocation would change.
func (p *printer) revoking(request promote.RevocationRequest, all server.RevokingView) {
	p.line("If %s counted no more:", revokedWhat(request.Kind, request.Value, request.Issuer))
	p.redecision(all.Redecision, "rest on it", true)
	p.redecided(all.Artifacts)
	p.line("")
	p.line("Nothing was changed.")
}

// pending says that not all is decided yet, and how to look at it.
func (p *printer) pending(c *client, r promote.Revocation) {
	if r.Redecision.State != promote.RedecisionPending {
		return
	}
	show := "sluice revocation show " + r.ID + " --follow"
	if c.host != defaultRegistry {
		show += " --registry " + c.host
	}
	p.line("")
	p.line("What rested on it is being decided anew. Look at it with: %s", show)
}

// whatToDo says how what no longer passes comes to pass again.
func (p *printer) whatToDo(c *client, all []promote.Redecided) {
	for _, a := range all {
		if a.Allowed || a.Outcome == promote.OutcomeUndecided || a.Lifting {
			continue
		}
		p.line("")
		p.line("What to do: build it anew, or attest it anew by what still counts, and promote it. For the first:")
		p.line("  sluice status %s/%s", c.host, printable(a.Repository))
		p.line("  sluice attest REF --type … --predicate … --key …")
		p.line("  sluice promote REF --to %s", printable(a.Tier))
		if a.Outcome == promote.OutcomeQuarantined {
			p.line("  sluice quarantine lift %s   # once it passes", a.Digest)
		}
		return
	}
}

func (p *printer) revocations(all []promote.Revocation) {
	if len(all) == 0 {
		p.line("Nothing is revoked.")
		return
	}
	rows := make([][]cell, 0, len(all))
	for _, r := range all {
		state := styled(red, "in force")
		if r.Lifted != nil {
			state = styled(green, "lifted")
		}
		came := fmt.Sprintf("%d of %d changed", r.Redecision.Changed, r.Redecision.Rested)
		if r.Redecision.State == promote.RedecisionPending {
			came += ", going on"
		}
		rows = append(rows, []cell{plain("%s", r.ID), plain("%s", r.CreatedAt.Local().Format("2006-01-02 15:04")), plain("%s", printable(r.By)),
			plain("%s", revokedWhat(r.Kind, r.Value, r.Issuer)), state, plain("%s", came), plain("%s", printable(r.Reason))})
	}
	p.table("", []string{"ID", "SINCE", "BY", "WHAT", "STATE", "RESTED ON IT", "WHY"}, rows)
}
