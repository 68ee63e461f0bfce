package attest

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// Keyless trusts identities: certificates of a Sigstore certificate authority (Fulcio),
// which are valid for minutes and say who had somebody's OpenID Connect token. All of it is
// verified offline, with the trusted root alone. NewKeyless makes one.
type Keyless struct {
	config KeylessConfig
	id     string
}

// KeylessConfig says what a Keyless asks for.
type KeylessConfig struct {
	Root            *TrustedRoot
	Issuer, Subject Match
	// LogEntries, Timestamps and CertificateTimestamps are from how many transparency logs,
	// timestamp authorities and certificate transparency logs (SCTs) proofs are asked for.
	// A log entry or a timestamp has to be: nothing else says when the certificate was used.
	LogEntries, Timestamps, CertificateTimestamps int
}

// NewKeyless checks that what is asked for can be met, and that it proves something.
func NewKeyless(config KeylessConfig) (*Keyless, error) {
	authorities, logs, stamps, ctLogs := config.Root.Counts()
	switch {
	case config.Issuer.isZero() || config.Subject.isZero():
		return nil, errors.New("an issuer and a subject are needed")
	case authorities == 0:
		return nil, errors.New("the trusted root has no certificate authority")
	case config.LogEntries < 0 || config.Timestamps < 0 || config.CertificateTimestamps < 0:
		return nil, errors.New("the required counts must not be negative")
	case config.LogEntries+config.Timestamps == 0:
		return nil, errors.New("a log entry or a timestamp has to be required: nothing else proves when a certificate was used")
	case config.LogEntries > logs:
		return nil, fmt.Errorf("%d log entries are required, and the trusted root has %d logs", config.LogEntries, logs)
	case config.Timestamps > stamps:
		return nil, fmt.Errorf("%d timestamps are required, and the trusted root has %d timestamp authorities", config.Timestamps, stamps)
	case config.CertificateTimestamps > ctLogs:
		return nil, fmt.Errorf("%d signed certificate timestamps are required, and the trusted root has %d certificate logs", config.CertificateTimestamps, ctLogs)
	}
	return &Keyless{config, identity("keyless", config.Root.id, config.Issuer.id(), config.Subject.id(),
		strconv.Itoa(config.LogEntries), strconv.Itoa(config.Timestamps), strconv.Itoa(config.CertificateTimestamps))}, nil
}

// SignerID is what a signer is counted by (Signer.KeyID), where the issuer and the subject
// are given exactly; else empty, as it may be any of many.
func (k *Keyless) SignerID() string {
	if k == nil || k.config.Issuer.whole != nil || k.config.Subject.whole != nil {
		return ""
	}
	return keylessID(k.config.Issuer.exact, k.config.Subject.exact)
}

func keylessID(issuer, subject string) string { return identity("keyless", issuer, subject) }

func (k *Keyless) identify() (string, error) { return k.id, nil }

func (k *Keyless) prove(p *parcel) (proof, error) {
	if p.certificate == nil {
		return withoutCertificate(), nil
	}
	verified, err := p.verifiedBy(Key{Public: p.certificate.PublicKey})
	if err != nil {
		return refuse("%s signs with a certificate, and the key of this one cannot be used: %v", whoever, err), nil
	}
	if !verified {
		return refuse("the signature is not valid for %s: the key of its certificate does not verify it", whoever), nil
	}
	out, err := k.certified(p)
	if err != nil {
		return refuse("%s is not proven to have signed it: %v", whoever, err), nil
	}
	return out, nil
}

// certified follows sigstore-go's order (verify.Verifier): log entries, timestamps, the
// certificate at every verified time, SCTs. It is put together of its parts, because the
// whole reads the statement a second time, in a laxer way. Who it is, and whether the
// certificate is of the authority at all, comes first: it costs least, and keeps what
// strangers attach from costing more.
func (k *Keyless) certified(p *parcel) (proof, error) {
	issuer, subject, err := k.identified(p.certificate)
	if err != nil {
		return proof{}, err
	}
	w, err := k.config.Root.witness(p, bundle.NewCertificate(p.certificate), k.config.LogEntries)
	switch {
	case err != nil:
		return proof{}, err
	case len(w.stamped) < k.config.Timestamps:
		return proof{}, errors.Join(fmt.Errorf("it has %d verified timestamps; %d are asked for", len(w.stamped), k.config.Timestamps), w.doubts)
	}
	times := w.all()
	if len(times) == 0 {
		return proof{}, errors.New("no log or timestamp authority proves when it was signed")
	}
	var chains [][]*x509.Certificate
	for _, t := range times {
		if chains, err = k.chains(p.certificate, t); err != nil {
			return proof{}, fmt.Errorf("%w, when it signed", err)
		}
	}
	if k.config.CertificateTimestamps > 0 {
		if err := verify.VerifySignedCertificateTimestamp(chains, k.config.CertificateTimestamps, k.config.Root.material); err != nil {
			return proof{}, fmt.Errorf("its signed certificate timestamps do not verify: %w", err)
		}
	}
	return proof{issuer: issuer, subject: subject, times: times, windows: []window{{keyID: keylessID(issuer, subject)}}}, nil
}

// identified says whose certificate it is, where that is asked for and an authority of
// the trusted root issued it, whenever.
func (k *Keyless) identified(leaf *x509.Certificate) (issuer, subject string, err error) {
	issuer, subject, err = keylessIdentity(leaf)
	switch {
	case err != nil:
		return "", "", err
	case !k.config.Issuer.holds(issuer):
		return "", "", fmt.Errorf("the certificate is by the issuer %q; it must be %q", shorten(issuer), k.config.Issuer)
	case !k.config.Subject.holds(subject):
		return "", "", fmt.Errorf("the certificate is of %q; it must be of %q", shorten(subject), k.config.Subject)
	}
	if _, err = k.chains(leaf, leaf.NotBefore); err != nil {
		_, err = k.chains(leaf, leaf.NotAfter)
	}
	return issuer, subject, err
}

// chains are the certificate's at a time. The certificates that a bundle
// brings beside it are not used: the trusted root holds what is needed.
func (k *Keyless) chains(leaf *x509.Certificate, at time.Time) ([][]*x509.Certificate, error) {
	var last error
	for _, ca := range k.config.Root.material.FulcioCertificateAuthorities() {
		chains, err := ca.Verify(leaf, at)
		if err == nil {
			return chains, nil
		}
		last = err
	}
	return nil, fmt.Errorf("the certificate (issued by %q, valid from %s to %s) does not verify at %s: %w", shorten(leaf.Issuer.String()),
		leaf.NotBefore.UTC().Format(timeFormat), leaf.NotAfter.UTC().Format(timeFormat), at.UTC().Format(timeFormat), last)
}

// keylessIdentity reads whom a certificate is of. It has to say that once: of several
// names, readers pick different ones.
func keylessIdentity(leaf *x509.Certificate) (issuer, subject string, err error) {
	summary, err := certificate.SummarizeCertificate(leaf)
	if err != nil {
		return "", "", fmt.Errorf("the certificate's identity cannot be read: %w", err)
	}
	if n := len(leaf.URIs) + len(leaf.EmailAddresses) + len(leaf.DNSNames) + len(leaf.IPAddresses); n > 1 {
		return "", "", fmt.Errorf("the certificate names %d subjects; it must name one", n)
	}
	if summary.Issuer == "" {
		return "", "", errors.New("the certificate does not say who issued its identity")
	}
	// Go does not know the name of the kind that Fulcio gives to user names (OtherName), and
	// takes an extension that holds nothing else for one that it cannot handle. It has been
	// read by now (sigstore-go does the same).
	san := asn1.ObjectIdentifier{2, 5, 29, 17}
	leaf.UnhandledCriticalExtensions = slices.DeleteFunc(leaf.UnhandledCriticalExtensions, san.Equal)
	return summary.Issuer, summary.SubjectAlternativeName, nil
}
