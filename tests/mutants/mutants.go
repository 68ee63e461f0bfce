package main

// mutants lists what the gate checks, each check broken.
func mutants() []mutant {
	return []mutant{
		{"promote/policy/distinct.go", "distinct keys", "if tried[key] {", "if tried[key] && false {"},
	}
}
