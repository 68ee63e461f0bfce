package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

func fsckCommand() *cobra.Command {
	var t target
	var options server.CheckOptions
	var detach bool
	j := checking()
	cmd := &cobra.Command{
		Use:   "fsck",
		Short: "Check that nothing is lost and nothing got past the gate",
		Long: `Have the registry compare its records with each other and with what lies in the buckets,
while it goes on. Each finding says what is wrong, where, and what to do about it.

With --read-data every object is read and hashed too, with --read-data-subset a part of them:
1/5 is the first of five parts, by digest, so that five checks read all; 10% is a share and
500M a size, both drawn at random. With --repair what can be mended without losing anything
or letting anything through is mended.

The registry does the work, and goes on when this command is interrupted: sluice fsck cancel
stops it. Exits with 0 where nothing is wrong any more, with 1 where something is, or the
check did not come to its end. What garbage collection takes away anyway is told, and is no
fault.`,
		Example: "  sluice fsck --registry 127.0.0.1:5000\n  sluice fsck --read-data-subset 1/7\n  sluice fsck --read-data --repair",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if options.Subset != "" || cmd.Flags().Changed("read-data-subset") {
				if options.ReadData {
					return wrongUse(cmd, "--read-data reads all, --read-data-subset a part: give one of them")
				}
				if options.Subset == "" {
					return wrongUse(cmd, "--read-data-subset is empty: want a part as 1/5, a share as 10%%, or a size as 500M")
				}
				if _, err := tiers.ParseSubset(options.Subset); err != nil {
					return wrongUse(cmd, "--read-data-subset: %w", err)
				}
				options.ReadData = true
			}
			return j.begin(cmd, t, options, detach)
		},
	}
	cmd.Flags().BoolVar(&options.ReadData, "read-data", false, "read and hash every object")
	cmd.Flags().StringVar(&options.Subset, "read-data-subset", "", "read and hash a part of them: 1/5, 10% or 500M")
	cmd.Flags().BoolVar(&options.Repair, "repair", false, "mend what can be mended without losing anything")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	t.flag(cmd)
	j.subcommands(cmd)
	return cmd
}

// checking is the verb about checks.
func checking() *job {
	return &job{
		verb: "fsck", one: "check", plural: "checks",
		progress: func(r runs.Run) string {
			now := checkedOf(r.Progress)
			if now.Phase == "" {
				return "checking"
			}
			text := fmt.Sprintf("checking, %s: %s, %s", printable(now.Phase), count(int(now.records()), "record"), count(int(now.Objects), "object"))
			if now.ReadBytes > 0 {
				text += fmt.Sprintf(", %s read", bytesText(now.ReadBytes))
			}
			if n := now.found(); n > 0 {
				text += fmt.Sprintf(", %s", count(int(n), "finding"))
			}
			return text
		},
		report: func(p *printer, r runs.Run) { p.check(r) },
		outcome: func(r runs.Run) error {
			if !checkedOf(r.Result).sound() {
				return errPrinted
			}
			return nil
		},
		figures: func(r runs.Run) string {
			f := r.Figures
			return fmt.Sprintf("%s, %d not repaired, %s read", count(int(f[server.FigureFindings]), "finding"), f[server.FigureUnrepaired], bytesText(f[figureRead]))
		},
	}
}

// checkResult is what a check found, as a client reads it.
type checkResult struct{ tiers.Checked }

// checkedOf reads a result or progress; what is not there is nothing.
func checkedOf(data json.RawMessage) checkResult {
	var c checkResult
	_ = json.Unmarshal(data, &c.Checked) // of a server that speaks otherwise there is nothing to tell
	return c
}

// sound says that nothing is wrong any more. A result that does not say that all was looked at
// must not pass for one that found nothing.
func (c checkResult) sound() bool { return c.Phase == tiers.CheckDone && c.Sound() }

func (c checkResult) records() (n int64) { return sum(c.Records) }
func (c checkResult) found() (n int64)   { return sum(c.Found) }

func sum(counts map[string]int64) (n int64) {
	for _, v := range counts {
		n += v
	}
	return n
}

// check prints what a check found.
func (p *printer) check(r runs.Run) {
	c := checkedOf(r.Result)
	for _, f := range c.Findings {
		p.finding(f)
	}
	if n := c.found() - int64(len(c.Findings)); n > 0 {
		p.line("… and %s more than a report has room for: mend these and check again.", count(int(n), "finding"))
		p.line("")
	}
	p.kinds(c)
	if r.State == runs.Succeeded {
		p.soundness(r, c)
	}
}

// finding prints one: what is wrong, where, and what to do about it.
func (p *printer) finding(f tiers.Finding) {
	mark := map[tiers.Severity]string{tiers.Danger: p.style(red, "✗"), tiers.Fault: p.style(red, "✗"), tiers.Info: p.style(amber, "!")}[f.Severity]
	if f.Repaired {
		mark = p.style(green, "✓")
	}
	p.line("%s %s %s %s %s", orDash(mark), f.Severity, f.Invariant, p.style(bold, printable(f.Kind)), printable(findingPlace(f)))
	p.line("  %s", printable(f.Message))
	if len(f.Affected) > 0 && !strings.Contains(f.Message, f.Affected[0]) {
		p.line("  Cannot be pulled whole: %s", printable(strings.Join(f.Affected, ", ")))
	}
	switch {
	case f.Repaired:
		p.line("  Repaired.")
	case f.Problem != "":
		p.line("  Not repaired: %s", printable(f.Problem))
	}
	if f.Remedy != "" && !f.Repaired {
		p.line("  → %s", printable(f.Remedy))
	}
	p.line("")
}

// findingPlace is where something is wrong.
func findingPlace(f tiers.Finding) string {
	var parts []string
	switch {
	case f.Repository != "" && f.Digest != "":
		parts = append(parts, fmt.Sprintf("%s/%s@%s", f.Tier, f.Repository, f.Digest))
	case f.Repository != "":
		parts = append(parts, f.Tier+"/"+f.Repository)
	case f.Digest != "":
		parts = append(parts, string(f.Digest))
	}
	if f.Key != "" {
		parts = append(parts, f.Key)
	}
	if f.Store != "" {
		parts = append(parts, "in bucket "+f.Store)
	}
	return strings.Join(parts, " ")
}

// kinds sums up the findings.
func (p *printer) kinds(c checkResult) {
	if len(c.Found) == 0 {
		return
	}
	names := slices.SortedFunc(maps.Keys(c.Found), func(a, b string) int {
		return cmp.Or(cmp.Compare(c.Found[b], c.Found[a]), cmp.Compare(a, b))
	})
	var rows [][]cell
	for _, name := range names {
		rows = append(rows, []cell{plain("%s", printable(name)), plain("%d", c.Found[name])})
	}
	p.table("", []string{"KIND", "FOUND"}, rows)
	p.line("")
}

// soundness is the last line of a check that came to its end.
func (p *printer) soundness(r runs.Run, c checkResult) {
	var options server.CheckOptions
	_ = json.Unmarshal(r.Options, &options) // then they are not told
	looked := fmt.Sprintf("%s and %s in %s, %s read", count(int(c.records()), "record"), count(int(c.Objects), "object"),
		r.Took(time.Now()).Round(time.Millisecond), bytesText(c.ReadBytes))
	left := c.Severity[tiers.Danger] + c.Severity[tiers.Fault]
	switch {
	case c.Phase != tiers.CheckDone:
		p.line("%s the report does not say that all was looked at.", p.style(red, "✗"))
		return
	case left > 0:
		p.line("%s %s not repaired, %d of them a danger (%s).", p.style(red, "✗"), count(int(left), "finding"), c.Severity[tiers.Danger], looked)
		if !options.Repair {
			p.line("  Some may be mended with: sluice fsck --repair")
		}
	case c.Repaired > 0:
		p.line("%s what was wrong is repaired: %s (%s).", p.style(green, "✓"), count(int(c.Repaired), "finding"), looked)
	case c.Severity[tiers.Info] > 0:
		p.line("%s nothing is wrong; %d left over for garbage collection (%s).", p.style(green, "✓"), c.Severity[tiers.Info], looked)
	default:
		p.line("%s nothing is wrong (%s).", p.style(green, "✓"), looked)
	}
	switch {
	case !options.ReadData:
		p.line("  The bytes were not read, manifests aside: --read-data does.")
	case options.Subset != "":
		p.line("  Of the bytes a part was read: %s.", printable(options.Subset))
	}
}
