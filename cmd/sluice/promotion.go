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
