package main

import "slices"

// mutants lists what the gate checks and what keeps the content, each check broken.
func mutants() []mutant {
	return slices.Concat(
		in("promote/attest/", wrapping(), statements(), keys(), certificates(), notary(), links(), finding(), memory()),
		in("promote/policy/", signatures(), times(), exceptions(), conditions(), bills(), scans(), builds(), layouts()),
		in("promote/", moves()),
		lost(),
		clean(),
		out(),
		pulled(),
		held(),
		anew(),
		revoked(),
	)
}

// in puts a folder before the names of the files.
func in(folder string, lists ...[]mutant) []mutant {
	all := slices.Concat(lists...)
	for i := range all {
		all[i].file = folder + all[i].file
	}
	return all
}
