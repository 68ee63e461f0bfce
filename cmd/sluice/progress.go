package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"sluice.dev/sluice/promote"
)

// progress is one line on a terminal that says what is waited for; elsewhere nothing.
type progress struct {
	w     io.Writer
	since time.Time
	shown bool
}

func newProgress(w io.Writer) *progress {
	p := &progress{since: time.Now()}
	if isTerminal(w) {
		p.w = w
	}
	return p
}

// show says how far a promotion is.
func (p *progress) show(m promote.Promotion) {
	p.say(fmt.Sprintf("%s to %s: %s", m.Repository, m.To, strings.ToLower(string(m.State))))
}

// say replaces the line.
func (p *progress) say(text string) {
	if p.w == nil {
		return
	}
	p.shown = true
	fmt.Fprintf(p.w, "\r\x1b[K%s, %s", text, time.Since(p.since).Round(100*time.Millisecond))
}

func (p *progress) clear() {
	if p.shown {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
