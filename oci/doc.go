// Package oci is the vocabulary of the registry: repository names, tags, digests,
// manifests, media types and error codes, as the OCI distribution and image
// specifications v1.1 define them.
//
// Everything here is pure: no I/O, no clock, no state. Parsers refuse what the
// specifications do not allow and never repair it, because a registry that guesses what
// a client meant disagrees sooner or later with the verifier that guesses otherwise.
package oci
