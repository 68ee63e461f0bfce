package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// shownEntry is an entry as it is printed.
type shownEntry struct {
	Index int64           `json:"index"`
	Event json.RawMessage `json:"event"`

	event tiers.Event
}

// entryFilter says which entries are shown.
type entryFilter struct {
	from       int64 // -1: the newest
	most       int
	repository string
	promotion  string
}

func (f entryFilter) selects(e tiers.Event) bool {
	return (f.repository == "" || f.repository == e.Repository || f.repository == e.Tier+"/"+e.Repository) &&
		(f.promotion == "" || f.promotion == e.Cause)
}

func ledgerShowCommand() *cobra.Command {
	var out output
	var from logSource
	filter := entryFilter{}
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show what happened: who did what, when, why, and on what evidence",
		Long: `Show entries of the ledger, in the order in which things happened: the newest, or those
from an index on. Each is compared with the signed checkpoint before it is shown. Entries are
for who may do everything to all of the registry (action admin), or who has a copy of the
bucket (--dir).`,
		Example: `  sluice ledger show --registry 127.0.0.1:5000 --repository acme/app
  sluice ledger show --promotion 01KAS0Z6Y3T6Q2W8V4N5M7R9XB
  sluice ledger show --dir copy-of-bucket --key ledger.pub --from 0`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			if !cmd.Flags().Changed("from") {
				filter.from = -1
			} else if filter.from < 0 {
				return wrongUse(cmd, "--from %d: entries begin at 0", filter.from)
			}
			if filter.most < 1 {
				return wrongUse(cmd, "--limit %d: want at least 1", filter.most)
			}
			l, err := from.open(cmd)
			if err != nil {
				return err
			}
			entries, err := l.entries(cmd.Context(), filter)
			if err != nil {
				return fmt.Errorf("%s: %w", l.name, err)
			}
			return out.print(cmd, entries, func(p *printer) { p.entries(entries) })
		},
	}
	from.flag(cmd)
	cmd.Flags().Int64Var(&filter.from, "from", 0, "index of the first entry to look at (default: the newest are shown)")
	cmd.Flags().IntVarP(&filter.most, "limit", "n", 50, "how many entries to show at the most")
	cmd.Flags().StringVar(&filter.repository, "repository", "", "only what happened to this repository, with or without its tier")
	cmd.Flags().StringVar(&filter.promotion, "promotion", "", "only what belongs to the promotion of this id")
	out.flag(cmd)
	return cmd
}

// entries reads what the filter selects: forward from an index, or the newest, which are
// looked for from the end.
func (l *openedLog) entries(ctx context.Context, filter entryFilter) ([]shownEntry, error) {
	checkpoint, err := ledger.Newest(ctx, l.source, l.keys...)
	if err != nil {
		return nil, err
	}
	if filter.from < 0 {
		return l.newest(ctx, checkpoint, filter)
	}
	found := []shownEntry{}
	for at := filter.from; at < checkpoint.Size && len(found) < filter.most; {
		page, next, err := l.page(ctx, checkpoint, at, showStep, filter)
		if err != nil {
			return nil, err
		}
		found, at = append(found, page...), next
	}
	return found[:min(len(found), filter.most)], nil
}

// showStep is how many entries are looked at in one step: a tile.
const showStep = 256

func (l *openedLog) newest(ctx context.Context, checkpoint ledger.Checkpoint, filter entryFilter) ([]shownEntry, error) {
	found := []shownEntry{}
	for end := checkpoint.Size; end > 0 && len(found) < filter.most; {
		begin := (end - 1) / showStep * showStep
		var step []shownEntry
		for at := begin; at < end; {
			page, next, err := l.page(ctx, checkpoint, at, int(end-at), filter)
			if err != nil {
				return nil, err
			}
			step, at = append(step, page...), next
		}
		found, end = append(step, found...), begin
	}
	return found[max(0, len(found)-filter.most):], nil
}

// page reads n entries, and says where to go on.
func (l *openedLog) page(ctx context.Context, checkpoint ledger.Checkpoint, from int64, n int, filter entryFilter) (page []shownEntry, next int64, err error) {
	entries, err := ledger.ReadEntries(ctx, l.source, checkpoint, from, n)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		shown := shownEntry{Index: e.Index, Event: e.Event}
		if err := json.Unmarshal(e.Event, &shown.event); err != nil {
			return nil, 0, fmt.Errorf("entry %d is no event: %w", e.Index, err)
		}
		if filter.selects(shown.event) {
			page = append(page, shown)
		}
	}
	return page, from + int64(len(entries)), nil
}

// entries prints entries as a person would tell them.
func (p *printer) entries(entries []shownEntry) {
	if len(entries) == 0 {
		p.line("Nothing.")
		return
	}
	width := len(fmt.Sprint(entries[len(entries)-1].Index))
	for _, e := range entries {
		t := tell(e.event)
		head := fmt.Sprintf("%*d  %s  ", width, e.Index, e.event.Time.Local().Format("2006-01-02 15:04:05"))
		mark := ""
		if t.mark != "" {
			mark = p.style(t.style, t.mark) + " "
		}
		p.line("%s%s%s %s", p.style(dim, head), mark, p.style(bold, printable(orDash(e.event.Actor))), printable(t.what))
		indent := strings.Repeat(" ", len(head))
		for _, line := range t.details {
			for i, part := range wrap(printable(line), max(p.width-len(indent)-2, 30)) {
				if i > 0 {
					part = "  " + part
				}
				p.line("%s%s", indent, part)
			}
		}
	}
}

// ledgerDetails bounds the lines that are printed of one entry.
const ledgerDetails = 40

// bounded keeps an entry readable.
func bounded(lines []string) []string {
	if len(lines) <= ledgerDetails {
		return lines
	}
	return append(slices.Clone(lines[:ledgerDetails]), fmt.Sprintf("and %d more", len(lines)-ledgerDetails))
}
