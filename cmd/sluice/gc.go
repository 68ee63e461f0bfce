package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

func gcCommand() *cobra.Command {
	var t target
	var options server.CollectionOptions
	var detach bool
	j := collecting()
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Take away what nothing needs any more",
		Long: `Have the registry collect garbage: what the rules of retention let go, and then what nothing
needs any more, unfinished uploads, bytes without a manifest, objects without a name. Pushes,
pulls and promotions go on meanwhile. The registry does the same by itself, as its
configuration says under gc.

What was acknowledged lately is kept, needed or not, and what goes is condemned first and
deleted by a later collection, so that nobody who still reads it is cut off.

The registry does the work, and goes on when this command is interrupted: sluice gc cancel
stops it. Exits with 1 where the collection did not come to its end.`,
		Example: "  sluice gc --dry-run --registry 127.0.0.1:5000\n  sluice gc",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return j.begin(cmd, t, options, detach)
		},
	}
	cmd.Flags().BoolVar(&options.DryRun, "dry-run", false, "change nothing, and list what would go and why")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	t.flag(cmd)
	j.subcommands(cmd)
	return cmd
}

// collecting is the verb about collections.
func collecting() *job {
	return &job{
		verb: "gc", one: "collection", plural: "collections",
		progress: func(r runs.Run) string {
			now := collectionOf(r.Progress)
			looked, gone := now.Collected.sum()
			if n := now.Retained.Repositories; now.Collected.Phase == "" && n > 0 {
				return fmt.Sprintf("applying the rules of retention: %s looked at, %s go", plural(n, "repository", "repositories"), count(now.Retained.Tags, "tag"))
			}
			if now.Collected.Phase == "" {
				return "collecting garbage"
			}
			return fmt.Sprintf("collecting garbage, %s: %d looked at, %d go", now.Collected.Phase, looked, gone)
		},
		report:  func(p *printer, r runs.Run) { p.collection(r) },
		outcome: func(runs.Run) error { return nil },
		figures: func(r runs.Run) string {
			f := r.Figures
			if n, dry := f[figureWouldGo]; dry {
				return fmt.Sprintf("dry run: %d would go", n)
			}
			text := fmt.Sprintf("%d deleted, %s freed, %d condemned", f[figureDeleted], bytesText(f[server.FigureFreed]), f[figureCondemned])
			if tags, manifests := f[figureTags], f[figureManifests]; tags+manifests > 0 {
				text += fmt.Sprintf("; by rule: %s, %s", count(int(tags), "tag"), count(int(manifests), "manifest"))
			}
			return text
		},
	}
}

// collectionResult is what a collection came to, as a client reads it.
type collectionResult struct {
	Retained  tiers.Retained  `json:"retained"`
	Collected collectedResult `json:"collected"`
}

// collectedResult adds up what the sweeps did.
type collectedResult struct{ tiers.Collected }

func (c collectedResult) sum() (looked, gone int64) {
	for _, s := range c.Sweeps {
		looked, gone = looked+s.Looked, gone+s.Gone
	}
	return looked, gone
}

// collectionOf reads a result or progress; what is not there is nothing.
func collectionOf(data json.RawMessage) collectionResult {
	var c collectionResult
	_ = json.Unmarshal(data, &c) // of a server that speaks otherwise there is nothing to tell
	return c
}

// sweeps are those of a collection, in their order.
func sweeps() []tiers.Sweep {
	return []tiers.Sweep{tiers.SweepUploads, tiers.SweepIntents, tiers.SweepReferences, tiers.SweepLinks, tiers.SweepBlobs,
		tiers.SweepStrays, tiers.SweepMultiparts, tiers.SweepObjects}
}

// collection prints what a collection came to.
func (p *printer) collection(r runs.Run) {
	result := collectionOf(r.Result)
	c := result.Collected
	p.retained(result.Retained, c.DryRun)
	if c.DryRun {
		p.wouldGo(c)
	}
	var rows [][]cell
	for _, name := range sweeps() {
		if s := c.Sweeps[name]; s.Looked > 0 || s.Gone > 0 {
			rows = append(rows, []cell{plain("%s", name), plain("%d", s.Looked), plain("%d", s.Gone), plain("%s", bytesText(s.Bytes))})
		}
	}
	if len(rows) > 0 {
		gone := "GONE"
		if c.DryRun {
			gone = "WOULD GO"
		}
		p.table("", []string{"SWEEP", "LOOKED AT", gone, "BYTES"}, rows)
		p.line("")
	}
	for _, problem := range c.Problems {
		p.line("%s %s: %s", p.style(amber, "!"), printable(string(problem.Sweep)), printable(problem.Message))
	}
	if n := c.ProblemCount - int64(len(c.Problems)); n > 0 {
		p.line("  … and %s more.", count(int(n), "problem"))
	}
	p.freed(r, result)
}

// retained prints what went by rules of retention, or in a dry run would, and what stays
// although a rule names it.
func (p *printer) retained(r tiers.Retained, dry bool) {
	var rows [][]cell
	for _, item := range r.Items {
		fate := styled(red, "goes")
		if item.Stays {
			fate = styled(green, "stays")
		}
		name := item.Tier + "/" + item.Repository + "@" + short(item.Digest)
		if item.Tag != "" {
			name = item.Tier + "/" + item.Repository + ":" + item.Tag
		}
		rows = append(rows, []cell{plain("%s", printable(name)), fate, plain("%s", printable(item.Why))})
	}
	if dry && len(rows) > 0 {
		p.table("", []string{"BY RULES OF RETENTION", "FATE", "WHY"}, rows)
		if n := r.Tags + r.Manifests + kept(r) - len(rows); n > 0 {
			p.line("… and %d more.", n)
		}
		p.line("")
	}
	for _, problem := range r.Problems {
		p.line("%s retention: %s", p.style(amber, "!"), printable(problem))
	}
	if r.Tags+r.Manifests+kept(r) == 0 {
		return
	}
	went := "went"
	if dry {
		went = "would go"
	}
	p.line("By rules of retention %s: %s and %s, %s among them.", went, count(r.Tags, "tag"), count(r.Manifests, "manifest"), count(r.Referrers, "referrer"))
	for _, why := range slices.Sorted(maps.Keys(r.Kept)) {
		p.line("  %d stay: %s.", r.Kept[why], printable(why))
	}
	p.line("")
}

// kept counts what stays although a rule names it.
func kept(r tiers.Retained) (n int) {
	for _, v := range r.Kept {
		n += v
	}
	return n
}

// freed is the last line of a collection that came to its end.
func (p *printer) freed(r runs.Run, result collectionResult) {
	if r.State != runs.Succeeded {
		return
	}
	took := r.Took(time.Now()).Round(time.Millisecond)
	c := result.Collected
	_, gone := c.sum()
	gone += int64(result.Retained.Tags + result.Retained.Manifests)
	switch f := r.Figures; {
	case c.DryRun && gone == 0:
		p.line("%s nothing would go (looked for %s).", p.style(green, "✓"), took)
	case c.DryRun:
		p.line("%s nothing was changed (looked for %s).", p.style(green, "✓"), took)
	default:
		p.line("%s collected in %s: %s deleted, %s freed.", p.style(green, "✓"), took, count(int(f[figureDeleted]), "object"), bytesText(f[server.FigureFreed]))
		if n := f[figureCondemned]; n > 0 {
			p.line("  %s of %s condemned: the first collection after the drain (gc.drain) deletes them.", count(int(n), "object"), bytesText(f[figureCondemnedBytes]))
		}
	}
}

// wouldGo lists what a dry run found.
func (p *printer) wouldGo(c collectedResult) {
	var rows [][]cell
	for _, item := range c.Items {
		size := "–"
		if item.Size > 0 {
			size = bytesText(item.Size)
		}
		rows = append(rows, []cell{plain("%s", item.Sweep), plain("%s", printable(itemName(item))), plain("%s", size), plain("%s", printable(item.Why))})
	}
	if len(rows) == 0 {
		return
	}
	p.table("", []string{"SWEEP", "WOULD GO", "SIZE", "WHY"}, rows)
	if _, gone := c.sum(); gone > int64(len(rows)) {
		p.line("… and %d more.", gone-int64(len(rows)))
	}
	p.line("")
}

// itemName is what would go, as a person would name it.
func itemName(item tiers.CollectItem) string {
	name := item.Key
	switch {
	case item.Repository != "" && item.Digest != "":
		name = item.Tier + "/" + item.Repository + "@" + short(item.Digest)
	case item.Repository != "":
		name = item.Tier + "/" + item.Repository + " " + item.Key
	case item.Digest != "":
		name = short(item.Digest)
	}
	return name
}
