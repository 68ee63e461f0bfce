package policy

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// maxIdentities bounds the identities of one authority.
const maxIdentities = 50

// NotarySpec says which Notary Project signatures an authority makes: a trust store and a
// trust policy of the level strict. Nothing weaker can be written.
type NotarySpec struct {
	// TrustStore has the CAs that issue the signers' certificates, as in the Notary
	// Project's trust stores of the type ca.
	TrustStore KeySpec `json:"trustStore,omitzero" yaml:"trustStore"`
	// SigningAuthorities are the CAs for the signing scheme notary.x509.signingAuthority.
	SigningAuthorities KeySpec `json:"signingAuthorities,omitzero" yaml:"signingAuthorities"`
	// TimestampRoots are the roots of timestamp authorities. With them every signature of
	// the scheme notary.x509 must have a timestamp; without, its certificates must be valid
	// when the policy is evaluated.
	TimestampRoots KeySpec `json:"timestampRoots,omitzero" yaml:"timestampRoots"`
	// Identities are the subjects that sign, "x509.subject: C=US, ST=WA, O=acme, CN=release"
	// say, of which C, ST and O are owed; or "*" alone for all that the CAs certify.
	Identities []string `json:"identities" yaml:"identities"`
}

// notary reads the trust of a Notary authority and inlines its certificates.
func (l *loader) notary(path string, a *AuthoritySpec) *attest.Notary {
	path += ".notary"
	spec := a.Notary
	n := &attest.Notary{
		CAs:                l.trustStore(path+".trustStore", &spec.TrustStore),
		SigningAuthorities: l.trustStore(path+".signingAuthorities", &spec.SigningAuthorities),
		TimestampRoots:     l.trustStore(path+".timestampRoots", &spec.TimestampRoots),
		Identities:         l.identities(path+".identities", spec.Identities),
	}
	if !l.has(path+".trustStore") && !l.has(path+".signingAuthorities") {
		l.add(path+".trustStore", "is missing: name the file with the CAs of the signers, or their pem")
	}
	for _, cert := range n.TimestampRoots {
		if !attest.IsRoot(cert) {
			l.add(path+".timestampRoots", "the certificate %q is no root: it is not signed with its own key", cert.Subject)
		}
	}
	if l.has(path+".timestampRoots") && !l.has(path+".trustStore") {
		l.add(path+".timestampRoots", "does nothing without trustStore: signing authorities state the time themselves")
	}
	return n
}

// trustStore reads a trust store where the document has one, and writes it back inlined
// and in one form.
func (l *loader) trustStore(path string, spec *KeySpec) []*x509.Certificate {
	if !l.has(path) {
		return nil
	}
	path, text := l.content(trustFile{path, spec.File, spec.PEM, "pem", "the file of certificates", maxCertificatesSize})
	if len(text) == 0 {
		return nil
	}
	store, err := attest.ParseTrustStore(text)
	if err != nil {
		l.add(path, "is no trust store in PEM: %v", err)
		return nil
	}
	*spec = KeySpec{PEM: string(attest.MarshalTrustStore(store))}
	return store
}

func (l *loader) identities(path string, texts []string) []attest.NotaryIdentity {
	if len(texts) == 0 {
		l.add(path, "is missing: name who signs, as \"x509.subject: C=US, ST=WA, O=acme, CN=release\" does")
	}
	if len(texts) > maxIdentities {
		l.add(path, "has %d identities, at most %d are allowed", len(texts), maxIdentities)
		return nil
	}
	var identities []attest.NotaryIdentity
	for i, text := range texts {
		at := fmt.Sprintf("%s[%d]", path, i)
		identity, err := attest.ParseNotaryIdentity(text)
		if err != nil {
			l.add(at, "%q: %v", text, err)
			continue
		}
		// Trusted Identities Constraints: one identity must not be part of another.
		if twin := slices.IndexFunc(identities, identity.Overlaps); twin >= 0 {
			l.add(at, "%q overlaps with %q: whoever is the one is the other", text, identities[twin].String())
		}
		identities = append(identities, identity)
	}
	return identities
}

// notaryTypes warns of a requirement that no signature can satisfy: Notary authorities sign
// one predicate type only, and nobody else signs it.
func (l *loader) notaryTypes(path string, r *Requirement, authorities []attest.Authority) {
	for _, a := range authorities {
		name := a.Name
		if !slices.Contains(r.From.Authorities, name) || (a.Notary != nil) == slices.Contains(r.PredicateTypes, attest.PredicateNotary) {
			continue
		}
		if a.Notary != nil {
			l.warnings = append(l.warnings, fmt.Sprintf("%s.predicateTypes: %s signs with notation and can never satisfy %s; ask for %s", path, name, strings.Join(r.PredicateTypes, " or "), attest.PredicateNotary))
		} else if len(r.PredicateTypes) == 1 {
			l.warnings = append(l.warnings, fmt.Sprintf("%s.from: %s has no notary and can never satisfy %s", path, name, attest.PredicateNotary))
		}
	}
}
