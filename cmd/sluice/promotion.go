package main

import (
	"fmt"
	"strings"

	"sluice.dev/sluice/promote"
)

// promotion prints how a promotion ended, and why.
func (p *printer) promotion(m promote.Promotion) {
	from := fmt.Sprintf("%s/%s@%s", m.From, m.Repository, short(m.Digest))
	switch m.State {
	case promote.Succeeded:
		if m.Rollback {
			p.line("%s %s is %s again.", p.style(green, "✓"), tagList(m), short(m.Digest))
			break
		}
		p.line("%s %s rose to %s as %s.", p.style(green, "✓"), from, m.To, tagList(m))
	case promote.Failed:
		p.line("%s %s did not rise to %s: the policy says no.", p.style(red, "✗"), from, m.To)
		if m.Error != "" {
			p.line("  %s", printable(m.Error))
		}
	case promote.Pending:
		p.line("%s %s has not risen to %s yet: it waits for approvals until %s.", p.style(amber, "…"), from, m.To, m.WaitUntil.Local().Format("2006-01-02 15:04"))
	default:
		p.line("%s %s did not rise to %s: it could not be decided or done, and nothing was let through.", p.style(red, "✗"), from, m.To)
	}
	p.line("%s", p.style(dim, "  promotion "+m.ID))
	if m.Verdict != nil {
		p.line("%s", p.style(dim, "  policy "+m.Verdict.Policy.Name+" "+short(m.Verdict.Policy.Digest)))
		p.line("")
		p.verdict(*m.Verdict, "")
	}
	p.standing(m)
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

// standing says what became of an artifact that stood above already.
func (p *printer) standing(m promote.Promotion) {
	if m.Standing == nil {
		return
	}
	changed := printable(orDash(strings.Join(m.Standing.Changed, ", ")))
	switch {
	case !m.Standing.Allowed:
		p.line("")
		p.line("%s It stands in %s, and would no longer pass; what changed: %s.", p.style(red, "!"), m.To, changed)
		if n := len(m.Moved.Referrers); n > 0 {
			p.line("  %s that the policy's authorities signed rose to it all the same.", count(n, "attestation"))
		}
	case len(m.Standing.Changed) > 0:
		p.line("")
		p.line("%s It stands in %s, and passes again; what changed: %s.", p.style(green, "✓"), m.To, changed)
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

func count(n int, what string) string { return plural(n, what, what+"s") }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
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
