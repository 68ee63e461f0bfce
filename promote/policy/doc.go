// Package policy decides: a policy document and the facts about an artifact in, a verdict
// out. Load reads and lints a document, Policy.Evaluate applies it.
//
// Evaluation is pure. It reads no clock, no store and no network, so the same policy and
// the same facts give the same verdict, at a promotion, in a dry run and in an audit years
// later. What takes longer than MaxDecision has no verdict at all. A policy's digest covers
// its trust: keys are inlined when it is loaded.
//
// The package fails closed and refuses on purpose:
//
//   - A document with an unknown, repeated or empty key, with anchors, or in which no
//     enforced rule asks for a signature does not load.
//   - An attestation that nobody of the policy signed is not looked at; no attestation is
//     a no.
//   - A condition that errs anywhere is a no, where CEL itself would let `error || true`
//     pass. An empty list under all() is an error, where CEL says true.
//   - A threshold counts distinct principals with distinct keys, never signatures.
//   - A time that cannot be read, or that lies in the future, is no time.
//   - A licence that nobody states, or that is not on SPDX's list, is not allowed; an SBOM
//     that lists less does not hide what another lists.
//
// It parses no attestation and verifies none: its facts come from package attest, which it
// also asks who signed an in-toto layout, when it loads one.
package policy
