// Command mutants breaks the registry on purpose, one check at a time, and runs the tests of
// the package that it broke: each mutant has to turn one red. It breaks what the gate asks
// of those who want something to rise, and what keeps acknowledged content through crashes,
// races and faults. It changes no file; a mutant is compiled from an overlay. make mutants
// runs all of it, and make mutants MUTANTS='-only tiers/' a part.
package main
