// Package check reads the catalog and the buckets of a registry that is at rest, past the
// registry itself, and says which of its invariants do not hold. It knows the schema of the
// catalog by what tiers/keys.go says of it, and shares no code with it: what is wrong there
// must not be wrong here in the same way.
package check
