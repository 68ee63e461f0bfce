package main

import (
	"fmt"
	"io"
	"strings"
)

// row is one figure and what is owed.
type row struct {
	Work     string  `json:"work"`
	Figure   string  `json:"figure"`
	Unit     string  `json:"unit,omitempty"` // empty: a ratio
	Owed     owed    `json:"owed"`
	Measured float64 `json:"measured"`
	Missing  bool    `json:"missing,omitempty"` // one of the two did not take part
	From     string  `json:"from,omitempty"`    // the medians that it comes from
}

// owed bounds a figure from one side. With neither bound the figure is for the reader.
type owed struct {
	Least float64 `json:"least,omitempty"`
	Most  float64 `json:"most,omitempty"`
	Exact bool    `json:"exact,omitempty"` // Most is a bound even at 0
}

func atLeast(v float64) owed { return owed{Least: v} }
func atMost(v float64) owed  { return owed{Most: v, Exact: true} }

// String is the bound as the table shows it.
func (o owed) String() string {
	switch {
	case o.Exact:
		return "≤ " + number(o.Most)
	case o.Least > 0:
		return "≥ " + number(o.Least)
	}
	return "–"
}

// verdict says whether the figure holds; "–" where nothing is owed or measured.
func (r row) verdict() string {
	switch {
	case r.Missing || !r.Owed.Exact && r.Owed.Least == 0:
		return "–"
	case r.Owed.Exact && r.Measured <= r.Owed.Most, !r.Owed.Exact && r.Measured >= r.Owed.Least:
		return "yes"
	}
	return "**no**"
}

// renderTable writes the rows as a table of markdown.
func renderTable(w io.Writer, rows []row) {
	fmt.Fprintln(w, "| work | figure | owed | measured | holds | medians |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- | --- |")
	last := ""
	for _, r := range rows {
		work := r.Work
		if work == last { // named once
			work = ""
		}
		last = r.Work
		unit := r.Unit
		if unit != "" {
			unit = " " + unit
		}
		bound, measured := r.Owed.String(), "not measured"
		if bound != "–" {
			bound += unit
		}
		if !r.Missing {
			measured = number(r.Measured) + unit
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", work, r.Figure, bound, measured, r.verdict(), r.From)
	}
}

// number shows three digits, two of them behind the point at the most, and all that stand
// before it.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return fmt.Sprintf("%d", int64(v))
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return strings.TrimSuffix(fmt.Sprintf("%.2f", v), "0")
}

// ratioRow judges how a did by how b did.
func (b *bench) ratioRow(work, figure, measure, one, other string, of func(sample) float64, unit string, o owed) {
	r := row{Work: work, Figure: figure, Owed: o}
	var ok bool
	if r.Measured, ok = b.results.ratio(measure, one, other, of); !ok || !b.whole(measure, one) {
		r.Missing = true
	} else {
		mine, theirs := median(values(b.results[measure][one], of)), median(values(b.results[measure][other], of))
		r.From = fmt.Sprintf("%s %s, %s %s %s", one, number(mine), other, number(theirs), unit)
	}
	b.rows = append(b.rows, r)
}

// medianRow judges the median of one contender.
func (b *bench) medianRow(work, figure, measure, who string, of func(sample) float64, unit string, o owed) {
	b.valueRow(work, figure, measure, who, of, median, unit, o)
}

// valueRow judges what reduce makes of the rounds of one contender: a guarantee holds in
// each of them, not in most.
func (b *bench) valueRow(work, figure, measure, who string, of func(sample) float64, reduce func([]float64) float64, unit string, o owed) {
	r := row{Work: work, Figure: figure, Unit: unit, Owed: o, Missing: !b.whole(measure, who)}
	if !r.Missing {
		r.Measured = reduce(values(b.results[measure][who], of))
	}
	b.rows = append(b.rows, r)
}

// whole says whether all rounds were measured: a figure of fewer would be judged under a
// heading that says how many there are.
func (b *bench) whole(measure, who string) bool { return len(b.results[measure][who]) == b.rounds }
