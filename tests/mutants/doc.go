// Command mutants breaks the gate on purpose, one check at a time, and runs the tests of
// the package that it broke: each mutant has to turn one red. It changes no file; a mutant
// is compiled from an overlay. make mutants runs all of it.
package main
