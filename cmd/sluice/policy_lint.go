package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/policy"
)

// lintResult is what is right and wrong with a policy document.
type lintResult struct {
	File     string        `json:"file"`
	Valid    bool          `json:"valid"`
	Name     string        `json:"name,omitempty"`
	Digest   digest.Digest `json:"digest,omitempty"` // with keys inlined: what the registry calls it by
	From     string        `json:"from,omitempty"`
	To       string        `json:"to,omitempty"`
	Rules    int           `json:"rules,omitempty"`
	Problems []string      `json:"problems"`
	Warnings []string      `json:"warnings"`
}

func policyLintCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:     "lint FILE",
		Short:   "Say everything that is wrong with a policy document",
		Long:    "Load a policy document with the keys that it names and say everything that is wrong with\nit. Exits with 1 where it would not load.",
		Example: "  sluice policy lint policies/stable.yaml",
		Args:    exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(cmd); err != nil {
				return err
			}
			result, err := lint(args[0])
			if err != nil {
				return err
			}
			if err := out.print(cmd, result, func(p *printer) { p.lint(result) }); err != nil {
				return err
			}
			if !result.Valid {
				return errPrinted
			}
			return nil
		},
	}
	out.flag(cmd)
	return cmd
}

// loadPolicy reads a document; the key files that it names are relative to it.
func loadPolicy(file string) (*policy.Policy, error) {
	raw, err := readLimited(file, policy.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return policy.Load(raw, func(name string) ([]byte, error) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		return readLimited(name, maxKeySize)
	})
}

func lint(file string) (lintResult, error) {
	result := lintResult{File: file, Problems: []string{}, Warnings: []string{}}
	p, err := loadPolicy(file)
	switch {
	case errors.Is(err, oci.ErrPolicyInvalid):
		for _, line := range strings.Split(err.Error(), "\n") {
			result.Problems = append(result.Problems, strings.TrimPrefix(line, oci.ErrPolicyInvalid.Error()+": "))
		}
		return result, nil
	case err != nil:
		return result, err
	}
	result.Valid, result.Name, result.Digest = true, p.Name(), p.Digest()
	result.From, result.To, result.Rules = p.From(), p.To(), len(p.Document().Spec.Require)
	result.Warnings = append(result.Warnings, p.Warnings()...)
	return result, nil
}

func (p *printer) lint(r lintResult) {
	if r.Valid {
		p.line("%s %s: policy %s, %s to %s, %s", p.style(green, "✓"), r.File, r.Name, r.From, r.To, count(r.Rules, "rule"))
		p.line("%s", p.style(dim, "  "+r.Digest.String()))
	} else {
		p.line("%s %s: %s", p.style(red, "✗"), r.File, count(len(r.Problems), "problem"))
	}
	for _, problem := range r.Problems {
		p.line("  %s %s", p.style(red, "✗"), printable(problem))
	}
	for _, warning := range r.Warnings {
		p.line("  %s %s", p.style(amber, "!"), printable(warning))
	}
}
