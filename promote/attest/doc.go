// Package attest finds the attestations that are attached to an artifact and verifies
// them: bytes of a repository in, facts for a policy out.
//
// Find lists what is attached (referrers, the referrers fallback tag, cosign's tags),
// Verify says of each attachment whose signature it carries and what it states, or why it
// does not count. Sign and BundleManifest make attestations in the form that cosign reads
// and writes.
//
// The package fails closed and refuses on purpose:
//
//   - It never believes a label. Media types and annotations decide only what is read;
//     payload type, statement type, predicate type and subject are taken from the signed
//     bytes.
//   - A document is parsed once, strictly (DecodeStrict), and only that tree is used. Two
//     readers that disagree about one document are how signed bytes get a second meaning.
//   - Unsigned statements are data, never evidence. What makes a signature an authority's
//     is one kind of trust: keys, identities of a Sigstore deployment under a pinned root,
//     certificates of authorities of one's own, or Notary identities. All of it is verified
//     offline.
//   - A verified time says that a signature was there by then. It is the only thing that
//     lets a key or certificate count that has expired since.
//   - A Verifier keeps what an attestation holds and proves, never who may sign or when.
//   - Notary Project signatures are held to the level strict of its trust policy, and count
//     under the predicate type PredicateNotary. Revocation is not looked up: there is no
//     network here, so a revoked CA or identity is taken out of the policy.
//   - Nothing is cut short to fit a limit. What is over a limit is reported with the
//     limit's name, and something malformed beside something good blocks nothing.
//
// Whether the facts suffice is decided elsewhere: thresholds, ages and conditions are the
// policy's.
package attest
