package attest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature"
)

const timeFormat = time.RFC3339

// unsigned is the problem of everything that nobody signed.
const unsigned = "unsigned: data, not evidence"

// Verify says what an attachment proves about subject: which of the authorities signed
// it, and what it states. now is the time that the keys must be valid at.
//
// It never fails: whatever is wrong, a panic of a library included, is the Problem of the
// evidence, and evidence with a problem has no signers.
func Verify(att Attachment, subject digest.Digest, authorities []Authority, now time.Time) (ev Evidence) {
	ev = Evidence{Manifest: att.Manifest.Digest, Layer: att.Layer.Digest, Subject: subject, Format: att.Format}
	// The libraries below parse what strangers wrote. One attestation that breaks them
	// must neither count nor take the server down.
	defer func() {
		if r := recover(); r != nil {
			ev.Signers, ev.Functionaries = nil, nil
			ev.Problem = fmt.Sprintf("verification broke off: %v", r)
		}
	}()
	if att.Problem != "" {
		ev.Problem = att.Problem
		return ev
	}
	signers, err := verify(&ev, att, authorities, now)
	if err != nil {
		ev.Problem = err.Error()
		return ev
	}
	ev.Signers = signers
	return ev
}

// verify checks in the order in which a reason is of most use: the wrapping, the
// signature, then what was signed.
func verify(ev *Evidence, att Attachment, authorities []Authority, now time.Time) ([]Signer, error) {
	if att.Format == FormatUnsigned && !signedAfterAll(ev, &att) {
		return nil, describeUnsigned(ev, att.Content)
	}
	if isNotary(att.Format) {
		return verifyNotary(ev, att, authorities, now)
	}
	env, err := unwrap(att)
	var malformed error
	if env != nil && env.payloadType == PayloadType {
		malformed = ev.setSigned(env)
	}
	switch {
	case err != nil:
		return nil, err
	case env.payloadType != PayloadType:
		return nil, fmt.Errorf("the envelope's payloadType is %q; it must be %q", shorten(env.payloadType), PayloadType)
	case malformed != nil:
		return nil, malformed
	}
	ordinary, functionaries := splitFunctionaries(authorities)
	ev.Functionaries = functionariesOf(ev, env, functionaries, now)
	signers, err := signersOf(env, ordinary, now)
	if err != nil {
		return nil, ev.forLayouts(withCertificate(err, att))
	}
	if err := checkTypes(ev.Statement); err != nil {
		return nil, err
	}
	if err := checkSubject(ev.Statement, ev.Subject); err != nil {
		return nil, ev.forLayouts(err)
	}
	return signers, nil
}

func unwrap(att Attachment) (*envelope, error) {
	switch att.Format {
	case FormatBundle:
		return parseBundle(att.Content)
	case FormatDSSE, FormatCosignAtt:
		return parseEnvelope(att.Content)
	case FormatLink:
		return parseSigned(att.Content)
	}
	return nil, fmt.Errorf("the format %q is unknown", att.Format)
}

// setStatement does the one parse of the payload.
func (e *Evidence) setStatement(payload []byte) error {
	tree, err := DecodeStrict(payload, MaxDepth)
	if err != nil {
		return err
	}
	e.Statement = tree
	e.PredicateType, _ = tree["predicateType"].(string)
	return nil
}

// describeUnsigned shows what can be shown, and adds where even the claim is another's.
func describeUnsigned(ev *Evidence, content []byte) error {
	if ev.setStatement(content) != nil || ev.Statement["_type"] == nil {
		return errors.New(unsigned) // an SBOM as such, in whatever form
	}
	if err := cmp.Or(checkTypes(ev.Statement), checkSubject(ev.Statement, ev.Subject)); err != nil {
		return fmt.Errorf("%s; besides, %w", unsigned, err)
	}
	return errors.New(unsigned)
}

// withCertificate adds to a failed verification that cosign left a certificate beside the
// envelope, which is why no key fits.
func withCertificate(err error, att Attachment) error {
	if att.Layer.Annotations["dev.sigstore.cosign/certificate"] == "" {
		return err
	}
	return fmt.Errorf("%w; it comes with a certificate, and the policy's authorities are keys", err)
}

// signersOf finds the authorities one of whose keys made a signature of the envelope and
// is valid at now, sorted by name, each once.
func signersOf(env *envelope, authorities []Authority, now time.Time) ([]Signer, error) {
	verdicts := map[string]bool{} // by fingerprint: one key may be of several authorities
	var signers []Signer
	var outside []string
	for _, authority := range authorities {
		for _, key := range authority.Keys {
			id, err := fingerprint(key.Public)
			if err != nil {
				return nil, fmt.Errorf("a key of %s cannot be used: %w", authority.Name, err)
			}
			verified, done := verdicts[id]
			if !done {
				if verified, err = env.verifiedBy(key); err != nil {
					return nil, fmt.Errorf("the key %s of %s cannot be used: %w", id, authority.Name, err)
				}
				verdicts[id] = verified
			}
			if !verified {
				continue
			}
			if problem := outsideWindow(key, now); problem != "" {
				outside = append(outside, fmt.Sprintf("the key %s of %s %s", id, authority.Name, problem))
				continue
			}
			signers = append(signers, Signer{Authority: authority.Name, Principal: principalOf(authority), KeyID: id})
			break
		}
	}
	switch {
	case len(signers) > 0:
		slices.SortFunc(signers, func(a, b Signer) int { return cmp.Compare(a.Authority, b.Authority) })
		return signers, nil
	case len(outside) > 0:
		return nil, fmt.Errorf("%s, and nothing proves when it signed", strings.Join(outside, "; "))
	}
	return nil, noSigner(env, authorities)
}

func principalOf(a Authority) string { return cmp.Or(a.Principal, a.Name) }

// outsideWindow compares the window of a key with now, for want of a verified time of
// signing.
func outsideWindow(key Key, now time.Time) string {
	switch {
	case !key.NotBefore.IsZero() && now.Before(key.NotBefore):
		return "is not valid before " + key.NotBefore.UTC().Format(timeFormat)
	case !key.NotAfter.IsZero() && now.After(key.NotAfter):
		return "expired at " + key.NotAfter.UTC().Format(timeFormat)
	}
	return ""
}

// verifyWith says whether the key made one of the signatures. The ids that envelopes give
// to keys are not looked at: nobody signed them, and libraries that go by them pass over
// good signatures.
func verifyWith(key Key, signed []byte, signatures [][]byte) (bool, error) {
	hash, err := checkKey(key.Public)
	if err != nil {
		return false, err
	}
	verifier, err := signature.LoadVerifier(key.Public, hash)
	if err != nil {
		return false, err
	}
	return anyVerifies(verifier, signed, signatures), nil
}

func anyVerifies(verifier signature.Verifier, signed []byte, signatures [][]byte) bool {
	for _, sig := range signatures {
		if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(signed)) == nil {
			return true
		}
	}
	return false
}

func noSigner(env *envelope, authorities []Authority) error {
	if err := keysOrNotary(authorities); err != nil {
		return err
	}
	var names []string
	for _, a := range authorities {
		if a.Notary != nil {
			continue
		}
		for _, key := range a.Keys {
			if id, err := fingerprint(key.Public); err == nil && id == env.hint {
				return fmt.Errorf("the signature is not valid: it names the key %s of %s, which does not verify it", id, a.Name)
			}
		}
		names = append(names, a.Name)
	}
	if len(names) == 0 {
		return errors.New("there is no authority whose signature would count")
	}
	hint := ""
	if env.hint != "" {
		hint = fmt.Sprintf(" (it names the key %q)", shorten(env.hint))
	}
	slices.Sort(names)
	return fmt.Errorf("no authority signed it: no key of %s verifies the signature%s", list(slices.Compact(names)), hint)
}
