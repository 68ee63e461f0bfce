package web

import (
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
)

// maxText bounds one text that others supplied, in bytes: a message, a reason, a problem.
const maxText = 4 << 10

// functions are what templates may call.
func (h *handler) functions() template.FuncMap {
	return template.FuncMap{
		"short":        shortDigest,
		"visible":      visible,
		"document":     document,
		"bytes":        formatBytes,
		"count":        count,
		"moment":       h.moment,
		"tierURL":      tierURL,
		"repoURL":      repositoryURL,
		"artifactURL":  artifactURL,
		"promotionURL": promotionURL,
		"policyURL":    policyURL,
		"more":         more,
	}
}

func tierURL(tier string) string                   { return "/tiers/" + tier }
func repositoryURL(tier, repository string) string { return "/artifacts/" + tier + "/" + repository }
func promotionURL(id string) string                { return "/promotions/" + url.PathEscape(id) }
func policyURL(name string) string                 { return "/policies/" + url.PathEscape(name) }

func artifactURL(tier, repository string, reference any) string {
	text := fmt.Sprint(reference)
	separator := ":"
	if strings.Contains(text, ":") {
		separator = "@"
	}
	return repositoryURL(tier, repository) + separator + text
}

// more is the query of a next page: key=last.
func more(key, last string) string { return "?" + url.Values{key: {last}}.Encode() }

// shortDigest is enough of a digest for a person to tell it from others on the page.
func shortDigest(d digest.Digest) string {
	algorithm, hex, ok := strings.Cut(string(d), ":")
	if !ok || len(hex) <= 12 {
		return string(d)
	}
	if algorithm == "sha256" {
		return hex[:12]
	}
	return algorithm + ":" + hex[:12]
}

// visible makes a text of others safe to read: bounded, and with every character that is
// not seen but changes what is (control, direction, zero-width) spelt out, so that a
// reason cannot dress up as another or a command hide a part of itself.
func visible(text any) string {
	s := fmt.Sprint(text)
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return document(s)
}

// document is visible without the bound, for what is bounded where it is kept.
func document(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r != '\n' && r != '\t' && (unicode.Is(unicode.Cf, r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029') {
			fmt.Fprintf(&b, "\\u%04x", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// formatBytes is a size in binary units, with the exact count below 1 KiB.
func formatBytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/(1<<10), 0
	for value >= 1024 && unit < 4 {
		value /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit])
}

// count is a number with its noun.
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// moment is a time in the forms that a page shows.
type moment struct {
	Machine  string // RFC 3339, for <time datetime>
	Absolute string
	Relative string
}

// moment takes a time.Time or a *time.Time; templates show nothing for the zero moment.
func (h *handler) moment(at any) moment {
	var t time.Time
	switch v := at.(type) {
	case time.Time:
		t = v
	case *time.Time:
		if v != nil {
			t = *v
		}
	}
	if t.IsZero() {
		return moment{}
	}
	t = t.UTC()
	return moment{Machine: t.Format(time.RFC3339), Absolute: t.Format("2 Jan 2006 15:04:05") + " UTC", Relative: relative(h.Now().Sub(t), t)}
}

func relative(ago time.Duration, t time.Time) string {
	switch {
	case ago < -time.Minute:
		return t.Format("2 Jan 2006 15:04")
	case ago < time.Minute:
		return "just now"
	case ago < time.Hour:
		return fmt.Sprintf("%d min ago", int(ago.Minutes()))
	case ago < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(ago.Hours()))
	case ago < 30*24*time.Hour:
		return fmt.Sprintf("%d days ago", int(ago.Hours()/24))
	}
	return t.Format("2 Jan 2006")
}
