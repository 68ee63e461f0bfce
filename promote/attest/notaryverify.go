package attest

import (
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/opencontainers/go-digest"
)

func isNotary(format Format) bool { return format == FormatNotaryJWS || format == FormatNotaryCOSE }

// notaryEvidence is Verify for a Notary Project signature. Whether it counts hangs on the
// time in more ways than one, so nothing of it is kept by a Verifier.
func notaryEvidence(att Attachment, subject digest.Digest, authorities []Authority, now time.Time) (ev Evidence) {
	ev = Evidence{Manifest: att.Manifest.Digest, Layer: att.Layer.Digest, Subject: subject, Format: att.Format, Problem: att.Problem}
	// As in examine: a library that breaks on hostile input proves nothing.
	defer func() {
		if r := recover(); r != nil {
			ev.Signers, ev.SignedAt = nil, time.Time{}
			ev.Problem = fmt.Sprintf("verification broke off: %v", r)
		}
	}()
	if ev.Problem != "" {
		return ev
	}
	signers, err := verifyNotary(&ev, att, authorities, now)
	if err != nil {
		ev.SignedAt, ev.Problem = time.Time{}, err.Error()
		return ev
	}
	ev.Signers = signers
	return ev
}

// without leaves out the signers whom except speaks against. Where none is left the evidence
// does not count.
func (e Evidence) without(except Except) Evidence {
	if except == nil || e.Problem != "" {
		return e
	}
	bare := e
	bare.Signers = nil
	var left []Signer
	var doubts []string
	for _, s := range e.Signers {
		if doubt := except(bare, s, e.SignedAt); doubt != "" {
			doubts = append(doubts, doubt)
			continue
		}
		left = append(left, s)
	}
	if e.Signers = left; len(left) == 0 {
		e.SignedAt, e.Problem = time.Time{}, strings.Join(slices.Compact(doubts), "; ")
	}
	return e
}

// verifyNotary does for a Notary Project signature what verify does for envelopes with
// statements. notation-core-go verifies the envelope; notation-go, which has the trust
// policy, is not used: it verifies at the time of its own clock, runs plugins, and reads the
// payload a second time and loosely.
func verifyNotary(ev *Evidence, att Attachment, authorities []Authority, now time.Time) ([]Signer, error) {
	env, err := openNotary(att.Format, att.Content)
	var malformed error
	if env != nil {
		malformed = ev.setNotary(env.payload)
	}
	switch {
	case err != nil:
		return nil, err
	case malformed != nil:
		return nil, fmt.Errorf("the payload is not strict JSON: %w", malformed)
	}
	content, err := env.verify()
	if err != nil {
		return nil, err
	}
	info := &content.SignerInfo
	signers, provenAt, err := notarySigners(info, authorities, now)
	if err != nil {
		return nil, err
	}
	if expiry := info.SignedAttributes.Expiry; !expiry.IsZero() && !now.Before(expiry) {
		return nil, fmt.Errorf("the signature expired at %s", expiry.UTC().Format(timeFormat))
	}
	if err := checkTarget(ev.Predicate(), ev.Subject, att.Target); err != nil {
		return nil, err
	}
	if err := ev.setAttributes(info.SignedAttributes); err != nil {
		return nil, err
	}
	ev.SignedAt = provenAt
	return signers, nil
}

// notarySigners finds the authorities whose trust policy the signature satisfies, sorted by
// name. The time of signing counts as proven where it is so by the trust of all of them.
func notarySigners(info *signature.SignerInfo, authorities []Authority, now time.Time) ([]Signer, time.Time, error) {
	var signers []Signer
	var refused, others []string
	var provenAt time.Time
	proven := true
	id := notaryID(info.CertificateChain)
	for _, authority := range authorities {
		if authority.Functionary {
			continue // its signature counts within a layout only
		}
		if authority.Notary == nil {
			others = append(others, authority.Name)
			continue
		}
		when, err := authority.Notary.accept(info, now)
		if err != nil {
			refused = append(refused, fmt.Sprintf("%s does not take it: %v", authority.Name, err))
			continue
		}
		signers = append(signers, Signer{Authority: authority.Name, Principal: principalOf(authority), KeyID: id})
		proven, provenAt = proven && when.proven, when.from
	}
	switch {
	case len(signers) > 0:
		slices.SortFunc(signers, func(a, b Signer) int { return cmp.Compare(a.Authority, b.Authority) })
		if !proven {
			provenAt = time.Time{}
		}
		return signers, provenAt, nil
	case len(refused) > 0:
		slices.Sort(refused)
		return nil, time.Time{}, errors.New(list(refused))
	case len(others) > 0:
		slices.Sort(others)
		return nil, time.Time{}, fmt.Errorf("it is a Notary Project signature by %s, and %s would have to sign an attestation with what the policy knows of them (cosign attest, sluice attest); a signature of notation counts for an authority with notary",
			subjectOf(info.CertificateChain[0]), list(slices.Compact(others)))
	}
	return nil, time.Time{}, errors.New("there is no authority whose signature would count")
}

// accept says whether a signature satisfies the trust policy, and when it was made. Its
// integrity and the soundness of its chain were established before.
func (n *Notary) accept(info *signature.SignerInfo, now time.Time) (span, error) {
	chain := info.CertificateChain
	leaf, root := chain[0], chain[len(chain)-1]
	store := n.CAs
	if info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority {
		if len(n.SigningAuthorities) == 0 {
			return span{}, fmt.Errorf("it is signed by the scheme %s, and the authority names no signingAuthorities", signature.SigningSchemeX509SigningAuthority)
		}
		store = n.SigningAuthorities
	}
	if len(chain) == 1 {
		return span{}, fmt.Errorf("the certificate %s is signed by nobody but itself; it must be issued by a CA of the trust store", subjectOf(leaf))
	}
	anchor, err := signature.VerifyAuthenticity(info, store)
	if err != nil {
		return span{}, fmt.Errorf("the CA of the certificate %s is not in the trust store (its root is %s)", subjectOf(leaf), subjectOf(root))
	}
	if !slices.ContainsFunc(n.Identities, func(i NotaryIdentity) bool { return i.matches(leaf) }) {
		var wanted []string
		for _, i := range n.Identities {
			wanted = append(wanted, i.String())
		}
		return span{}, fmt.Errorf("the certificate is of %s, which is none of the identities %s", subjectOf(leaf), list(wanted))
	}
	when, err := n.timeOf(info, now)
	if err != nil {
		return span{}, err
	}
	if err := checkValidity(chain, when); err != nil {
		return span{}, err
	}
	return when, checkPath(chain, anchor, when.to)
}

// checkPath has the chain verified once more by crypto/x509, which knows what the Notary
// Project's own check passes over: name constraints, critical extensions that are unknown,
// and key usages that a CA does not extend to code signing.
func checkPath(chain []*x509.Certificate, anchor *x509.Certificate, at time.Time) error {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(anchor)
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	})
	if err != nil {
		return fmt.Errorf("the certificate %s is not good for signing code: %s", subjectOf(chain[0]), reason(err))
	}
	return nil
}

// notaryID identifies who signed: the subject of the certificate, as its CA names it. It
// stays the same when the certificate is renewed or another intermediate CA issues it, so
// that one identity counts once, and differs where another root names the same subject.
func notaryID(chain []*x509.Certificate) string {
	h := sha256.New()
	h.Write([]byte(identityPrefix))
	h.Write(chain[len(chain)-1].RawSubjectPublicKeyInfo)
	h.Write([]byte(chain[0].Subject.String()))
	return hex.EncodeToString(h.Sum(nil))
}

// notaryTrust is Notary as a kind of trust of what is signed in other ways: none of it is
// this authority's.
type notaryTrust struct{ *Notary }

func (notaryTrust) identify() (string, error) { return identity("notary"), nil }

func (notaryTrust) prove(*parcel) (proof, error) {
	out := refuse("it is not a Notary Project signature, and %s can only sign with notation: notation sign the artifact with a certificate of the trust store", whoever)
	out.otherKind = true
	return out, nil
}
