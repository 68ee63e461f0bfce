package policy

import "sluice.dev/sluice/promote/attest"

// distinct counts how many signers there are of whom no two share a principal or a key:
// the size of a maximum matching between principals and keys. Counting either alone would
// let one key pass as two people, or one person with two keys as two.
func distinct(signers []attest.Signer) int {
	keys := map[string][]string{} // of each principal
	for _, s := range signers {
		keys[s.Principal] = append(keys[s.Principal], s.KeyID)
	}
	holder := map[string]string{} // the principal that each key is matched with
	count := 0
	for principal := range keys {
		if augment(principal, keys, holder, map[string]bool{}) {
			count++
		}
	}
	return count
}

// augment finds a key for a principal, moving others to another of their keys where that
// helps (Kuhn's algorithm).
func augment(principal string, keys map[string][]string, holder map[string]string, tried map[string]bool) bool {
	for _, key := range keys[principal] {
		if tried[key] {
			continue
		}
		tried[key] = true
		other, taken := holder[key]
		if !taken || augment(other, keys, holder, tried) {
			holder[key] = principal
			return true
		}
	}
	return false
}
