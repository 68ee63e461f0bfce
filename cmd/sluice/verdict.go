package main

import (
	"slices"
	"strings"

	"sluice.dev/sluice/promote/policy"
)

// verdict prints the rules of a policy with what they found.
func (p *printer) verdict(v policy.Verdict, indent string) {
	rows := make([][]cell, 0, len(v.Rules))
	for _, r := range v.Rules {
		mark, style := "✓", green
		switch {
		case r.Mode == policy.Off:
			mark, style = "–", dim
		case !r.Allowed && r.Mode == policy.Warn:
			mark, style = "!", amber
		case !r.Allowed:
			mark, style = "✗", red
		}
		rule := r.Name
		if r.Mode != policy.Enforce {
			rule += " (" + string(r.Mode) + ")"
		}
		rows = append(rows, []cell{styled(style, "%s", mark), plain("%s", printable(rule)), plain("%s", printable(r.Message))})
	}
	p.table(indent, []string{"", "RULE", "WHAT WAS FOUND"}, rows)
	p.remedies(v, indent)
}

// remedies prints the commands that would supply what is missing, whole, so that they can
// be copied.
func (p *printer) remedies(v policy.Verdict, indent string) {
	var commands []string
	for _, r := range v.Rules {
		if r.Allowed || r.Remedy == "" || r.Mode == policy.Off {
			continue
		}
		for _, command := range strings.Split(r.Remedy, "\n") {
			if !slices.Contains(commands, command) {
				commands = append(commands, command)
			}
		}
	}
	if len(commands) == 0 {
		return
	}
	p.line("")
	p.line("%s%s", indent, p.style(dim, "What is missing would come with:"))
	for _, command := range commands {
		p.line("%s  %s", indent, p.style(blue, printable(command)))
	}
}
