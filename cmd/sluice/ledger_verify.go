package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
	"sluice.dev/sluice/tiers/runs"
)

// unfounded is what an entry says that nothing before it accounts for.
const unfounded ledger.Kind = "unfounded"

// maxUnfounded is how many of them are listed.
const maxUnfounded = 1000

// proof is what the verb prints.
type proof struct {
	ledger.Report
	Source string `json:"source"`
	// Pinned says that the key was given, not taken from the registry itself.
	Pinned bool `json:"pinned"`
	// Promotions is how many decisions were compared with the policies and the evidence.
	Promotions int64 `json:"promotions"`
	// Evidence is how many pieces of evidence were read in a copy of the bucket, and
	// EvidenceElsewhere how many do not lie there.
	Evidence          int64 `json:"evidence,omitempty"`
	EvidenceElsewhere int64 `json:"evidenceElsewhere,omitempty"`
	// Catalog is what the registry found when it compared its records with the ledger.
	Catalog *tiers.Checked `json:"catalog,omitempty"`
}

func ledgerVerifyCommand() *cobra.Command {
	var out output
	var from logSource
	var kept, save string
	var catalog bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that nothing in the ledger was changed, dropped or put elsewhere",
		Long: `Compute the ledger anew, from each entry up to the signed checkpoint, and compare it with
all that was signed. Then follow the events, and see that each promotion was decided by the
policy that was in force, by its own rules, on evidence that was pushed before.

What was changed, dropped, added, put elsewhere or set back is named, and the exit code is 1.
With --checkpoint the log must also lead to a checkpoint that was kept elsewhere: this is what
finds a log that was rewritten together with its signatures. --save keeps the newest one for
the next time.

With --catalog the registry then applies all events to an empty catalog in memory and compares
its own records with it: a record that no event explains, one that is missing, and one that
says something else is named, with both values and the entry. It may go on working meanwhile.

A plain copy of the bucket is enough (--dir): nothing is asked of the registry then. The
evidence that lies in the copy is compared with the digests that the verdicts name. The
public key is at /api/v1/keys; pin it. Entries are for who may do everything to all of the
registry (action admin); for others the hashes alone are verified.`,
		Example: `  sluice ledger verify --registry 127.0.0.1:5000 --key ledger.pub --checkpoint kept.txt --save kept.txt
  sluice ledger verify --dir copy-of-bucket --key ledger.pub --checkpoint kept.txt`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			l, err := from.open(cmd)
			if err != nil {
				return err
			}
			options := ledger.VerifyOptions{Keys: l.keys}
			if kept != "" {
				if options.Kept, err = readLimited(kept, ledger.MaxCheckpoint); err != nil {
					return fmt.Errorf("checkpoint: %w", err)
				}
			}
			if catalog && l.client == nil {
				return wrongUse(cmd, "--catalog asks a registry: it does not go with --dir")
			}
			found, err := l.verify(cmd, options)
			if err != nil {
				return err
			}
			if catalog && found.Sound {
				if err := l.compare(cmd, &found); err != nil {
					return err
				}
			}
			if found.Sound && save != "" {
				if err := replaceFile(save, found.Signed); err != nil {
					return fmt.Errorf("save: %w", err)
				}
			}
			if err := out.print(cmd, found, func(p *printer) { p.proof(found) }); err != nil {
				return err
			}
			if !found.Sound {
				return errPrinted
			}
			return nil
		},
	}
	from.flag(cmd)
	cmd.Flags().StringVar(&kept, "checkpoint", "", "file with a checkpoint that was kept elsewhere, as /ledger/checkpoint gives it")
	cmd.Flags().BoolVar(&catalog, "catalog", false, "have the registry compare its records with the ledger too")
	cmd.Flags().StringVar(&save, "save", "", "file to keep the newest checkpoint in, where the ledger is sound")
	out.flag(cmd)
	return cmd
}

// verify runs the whole check, with what is known of the events.
func (l *openedLog) verify(cmd *cobra.Command, options ledger.VerifyOptions) (proof, error) {
	may, err := l.mayAudit(cmd.Context())
	if err != nil {
		return proof{}, err
	}
	options.HashesOnly = !may
	var auditor promote.Auditor
	var problems []ledger.Finding
	evidence := &evidenceCopy{root: l.copy}
	add := func(kind ledger.Kind, index int64, texts []string) {
		for _, text := range texts[:min(len(texts), maxUnfounded-len(problems))] {
			problems = append(problems, ledger.Finding{Kind: kind, Index: &index, Message: text})
		}
	}
	options.Each = func(e ledger.Entry) error {
		var event tiers.Event
		if err := json.Unmarshal(e.Event, &event); err != nil {
			return fmt.Errorf("entry %d: %w", e.Index, err) // Verify has read it before
		}
		add(unfounded, e.Index, auditor.Event(event))
		if l.copy != nil {
			add(badEvidence, e.Index, evidence.event(event))
		}
		return nil
	}
	progress := newProgress(cmd.ErrOrStderr())
	options.Progress = func(done, of int64) { progress.say(fmt.Sprintf("entry %d of %d", done, of)) }
	report, err := ledger.Verify(cmd.Context(), l.source, options)
	progress.clear()
	if err != nil {
		return proof{}, fmt.Errorf("%s: %w", l.name, err)
	}
	found := proof{Report: report, Source: l.name, Pinned: l.pinned, Promotions: auditor.Promotions, Evidence: evidence.here, EvidenceElsewhere: evidence.elsewhere}
	// Where entries are missing or wrong, what they would have accounted for is missing too.
	if report.Sound && len(problems) > 0 {
		found.Sound, found.Findings = false, problems
	}
	return found, nil
}

// compare has the registry compare its catalog with the ledger.
func (l *openedLog) compare(cmd *cobra.Command, found *proof) error {
	j := checking()
	var run runs.Run
	if _, err := l.client.post(cmd.Context(), j.path(), http.Header{"Prefer": {"respond-async"}}, server.CheckOptions{Ledger: true}, &run); err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr())
	run, err := j.await(cmd.Context(), l.client, run, func(r runs.Run) { progress.say(j.progress(r)) })
	progress.clear()
	if err != nil {
		return err
	}
	if run.State != runs.Succeeded {
		return fmt.Errorf("the comparison of the catalog with the ledger, %s, did not come to its end: %s", run.ID, printable(orDash(run.Error)))
	}
	result := checkedOf(run.Result)
	found.Catalog, found.Sound = &result.Checked, result.sound()
	return nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, content []byte) error {
	next := path + ".new"
	if err := os.WriteFile(next, content, 0o644); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// proof prints what a verification found.
func (p *printer) proof(found proof) {
	mark := p.style(green, "✓")
	if !found.Sound {
		mark = p.style(red, "✗")
	}
	p.line("%s %s: the ledger %s, %d entries, root %s", mark, printable(found.Source), printable(orDash(found.Origin)), found.Size, found.Root)
	if found.First != nil {
		p.line("  from %s to %s", found.First.Local().Format("2006-01-02 15:04:05"), found.Last.Local().Format("2006-01-02 15:04:05"))
	}
	p.line("  %d entries, %d tiles of hashes, %d checkpoints and %d promotions were verified", found.Entries, found.Tiles, found.Checkpoints, found.Promotions)
	if found.Evidence+found.EvidenceElsewhere > 0 {
		p.line("  %d pieces of evidence were read, %d lie in other buckets", found.Evidence, found.EvidenceElsewhere)
	}
	if found.HashesOnly {
		p.line("  %s the entries themselves were not looked at: reading them takes the action admin", p.style(amber, "!"))
	}
	if !found.Pinned {
		p.line("  %s the key is what the registry says: pin it with --key", p.style(amber, "!"))
	}
	switch {
	case found.Kept == nil:
		p.line("  %s not compared with a checkpoint that was kept elsewhere (--checkpoint): a log rewritten whole would not be noticed", p.style(amber, "!"))
	case found.Kept.Consistent:
		p.line("  it goes on from the checkpoint of size %d that was kept elsewhere", found.Kept.Size)
	default:
		p.line("  %s it does not go on from the checkpoint of size %d that was kept elsewhere", p.style(red, "✗"), found.Kept.Size)
	}
	if len(found.Findings) > 0 {
		p.line("")
		p.ledgerFindings(found.Report)
	}
	if found.Catalog == nil {
		return
	}
	c := checkResult{*found.Catalog}
	p.line("  %s of the catalog were compared with the ledger, %s", count(int(c.records()), "record"), count(int(c.found()), "difference"))
	p.line("")
	for _, f := range c.Findings {
		p.finding(f)
	}
}

// ledgerFindings lists what is wrong with a log.
func (p *printer) ledgerFindings(found ledger.Report) {
	rows := make([][]cell, len(found.Findings))
	for i, f := range found.Findings {
		where := f.Path
		if f.Index != nil {
			where = fmt.Sprintf("entry %d", *f.Index)
		}
		rows[i] = []cell{styled(red, "%s", f.Kind), plain("%s", printable(orDash(where))), plain("%s", printable(f.Message))}
	}
	p.table("", []string{"WHAT", "WHERE", "HOW"}, rows)
	if found.Unlisted > 0 {
		p.line("and %d more", found.Unlisted)
	}
}
