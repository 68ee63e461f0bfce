// Package promote is the gate between two tiers.
//
// An Engine takes a request, resolves it to a digest once, collects the closure of that
// digest and the attestations in it, asks the policy of the tier above, and if it allows,
// copies what is missing, signs a summary, and makes all of it visible in one step. Its
// journal is in the catalog: whatever is cut off is taken up again and ends in a terminal
// state. There is no way around the policy, and nothing here deletes from a tier.
package promote
