package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// output is the -o flag: how a verb prints what it found.
type output struct{ format string }

func (o *output) flag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "table", "how to print: table or json")
}

// check refuses a format that there is not; verbs call it before they begin.
func (o *output) check(cmd *cobra.Command) error {
	if o.format != "table" && o.format != "json" {
		return wrongUse(cmd, "--output %q: want table or json", o.format)
	}
	return nil
}

func (o *output) json() bool { return o.format == "json" }

// print writes value as JSON, or lets table write it for people.
func (o *output) print(cmd *cobra.Command, value any, table func(*printer)) error {
	if err := o.check(cmd); err != nil {
		return err
	}
	p := newPrinter(cmd.OutOrStdout())
	if o.json() {
		enc := json.NewEncoder(p)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(value); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	} else {
		table(p)
	}
	return p.failed()
}

// isTerminal says whether somebody may be looking.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// printer writes text for people, and keeps the first error of its writer.
type printer struct {
	w      io.Writer
	colour bool
	width  int // columns of a line; text wraps there
	err    error
}

const (
	defaultWidth = 100
	maxWidth     = 140 // lines that are longer are hard to read
)

// newPrinter colours and wraps for a terminal. NO_COLOR turns colours off
// (https://no-color.org).
func newPrinter(w io.Writer) *printer {
	p := &printer{w: w, width: defaultWidth}
	if !isTerminal(w) {
		return p
	}
	p.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width >= 40 {
			p.width = min(width, maxWidth)
		}
	}
	return p
}

// Write passes on to the writer until it fails.
func (p *printer) Write(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.w.Write(b)
	p.err = err
	return n, err
}

func (p *printer) failed() error {
	if p.err != nil {
		return fmt.Errorf("print: %w", p.err)
	}
	return nil
}

// line writes a line; what does not fit is not cut, so that it can be copied.
func (p *printer) line(format string, args ...any) {
	fmt.Fprintf(p, format+"\n", args...)
}

// A style is an ANSI "select graphic rendition" parameter.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	amber = "33"
	blue  = "36"
)

func (p *printer) style(style, text string) string {
	if !p.colour || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// A cell is text in one style.
type cell struct {
	text  string
	style string
}

func plain(format string, args ...any) cell { return cell{text: fmt.Sprintf(format, args...)} }

func styled(style, format string, args ...any) cell {
	return cell{text: fmt.Sprintf(format, args...), style: style}
}

// table writes rows in columns two spaces apart, the first row as the head. The last
// column wraps at the printer's width.
func (p *printer) table(indent string, head []string, rows [][]cell) {
	widths := make([]int, len(head))
	for i, h := range head {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, row := range rows {
		for i, c := range row[:len(row)-1] {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	first := make([]cell, len(head))
	for i, h := range head {
		first[i] = styled(dim, "%s", h)
	}
	p.row(indent, widths, first)
	for _, row := range rows {
		p.row(indent, widths, row)
	}
}

func (p *printer) row(indent string, widths []int, row []cell) {
	var b strings.Builder
	b.WriteString(indent)
	column := utf8.RuneCountInString(indent)
	last := len(row) - 1
	for i, c := range row[:last] {
		b.WriteString(p.style(c.style, c.text))
		b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
		column += widths[i] + 2
	}
	pad := "\n" + strings.Repeat(" ", column)
	for i, part := range wrap(row[last].text, max(p.width-column, 30)) {
		if i > 0 {
			b.WriteString(pad)
		}
		b.WriteString(p.style(row[last].style, part))
	}
	p.line("%s", strings.TrimRight(b.String(), " "))
}

// wrap breaks text at blanks into lines of at most width characters; a longer word stays
// whole.
func wrap(text string, width int) []string {
	var lines []string
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
				lines = append(lines, line)
				line = word
			default:
				line += " " + word
			}
		}
		lines = append(lines, line)
	}
	return lines
}

// short is enough of a digest for a person to know it by.
func short(d digest.Digest) string {
	const most = len("sha256:") + 12
	if len(d) <= most {
		return string(d)
	}
	return string(d[:most])
}

// printable keeps what a registry says from steering the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '�'
		}
		return r
	}, text)
}
