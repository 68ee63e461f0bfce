package attest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// X509 trusts certificates that authorities of one's own issued. NewX509 makes one.
type X509 struct {
	config X509Config
	id     string
}

// X509Config says which certificates an X509 trusts.
type X509Config struct {
	// Roots issue, Intermediates may be needed to get from a certificate to a root; those
	// that a signature brings are tried too.
	Roots, Intermediates []*x509.Certificate
	// Emails, URIs, DNSNames and Subjects (distinguished names as RFC 2253 writes them) say
	// who signs. At least one kind is needed. Of each kind that is given, the certificate
	// has to have one of the names.
	Emails, URIs, DNSNames, Subjects []Match
	// Usage is the extended key usage that the certificate has to have; code signing where
	// it is not given.
	Usage x509.ExtKeyUsage
	// Timestamps prove when a certificate signed. Where they do, it has to have been valid
	// then; else it has to be valid now.
	Timestamps *Timestamps
}

// NewX509 checks the roots and that somebody is named.
func NewX509(config X509Config) (*X509, error) {
	if len(config.Roots) == 0 {
		return nil, errors.New("a root is needed")
	}
	parts := []string{"x509", config.Timestamps.id()}
	for _, c := range slices.Concat(config.Roots, config.Intermediates) {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("the certificate of %q is not a CA's", shorten(c.Subject.String()))
		}
		if _, err := checkKey(c.PublicKey); err != nil {
			return nil, fmt.Errorf("the certificate of %q: %w", shorten(c.Subject.String()), err)
		}
	}
	if config.Usage == x509.ExtKeyUsageAny {
		config.Usage = x509.ExtKeyUsageCodeSigning
	}
	parts = append(parts, string(MarshalCertificates(config.Roots)), string(MarshalCertificates(config.Intermediates)), fmt.Sprint(config.Usage))
	named := 0
	for _, names := range [][]Match{config.Emails, config.URIs, config.DNSNames, config.Subjects} {
		for _, m := range names {
			if m.isZero() {
				return nil, errors.New("a name is empty")
			}
			parts = append(parts, m.id())
		}
		named += len(names)
		parts = append(parts, "")
	}
	if named == 0 {
		return nil, errors.New("somebody has to be named: an email, a URI, a DNS name or a subject")
	}
	return &X509{config, identity(parts...)}, nil
}

func (x *X509) identify() (string, error) { return x.id, nil }

func (x *X509) prove(p *parcel) (proof, error) {
	leaf := p.certificate
	if leaf == nil {
		return withoutCertificate(), nil
	}
	verified, err := p.verifiedBy(Key{Public: leaf.PublicKey})
	if err != nil {
		return refuse("%s signs with a certificate, and the key of this one cannot be used: %v", whoever, err), nil
	}
	if !verified {
		return refuse("the signature is not valid for %s: the key of its certificate does not verify it", whoever), nil
	}
	subject, err := x.matches(leaf)
	if err != nil {
		return refuse("%s is not proven to have signed it: %v", whoever, err), nil
	}
	out := proof{issuer: leaf.Issuer.String(), subject: subject}
	if out.windows, err = x.windows(leaf, p.chain); err != nil {
		return refuse("%s is not proven to have signed it: %v", whoever, err), nil
	}
	if err := x.config.Timestamps.date(&out, p, bundle.NewCertificate(leaf)); err != nil {
		return refuse("%s is not proven to have signed it: %v", whoever, err), nil
	}
	return out, nil
}

// matches says who signed, by a name that is asked for.
func (x *X509) matches(leaf *x509.Certificate) (string, error) {
	switch {
	case leaf.IsCA:
		return "", errors.New("the certificate is a CA's; it must be a signer's")
	case leaf.KeyUsage != 0 && leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return "", errors.New("the certificate's key is not for signatures")
	case !slices.Contains(leaf.ExtKeyUsage, x.config.Usage):
		// Go lets a certificate without any extended key usage pass for every use.
		return "", errors.New("the certificate has not the extended key usage that is asked for, code signing by default")
	}
	subject := ""
	for _, kind := range []struct {
		what  string
		asked []Match
		names []string
	}{
		{"email", x.config.Emails, leaf.EmailAddresses},
		{"URI", x.config.URIs, uris(leaf.URIs)},
		{"DNS name", x.config.DNSNames, leaf.DNSNames},
		{"subject", x.config.Subjects, []string{leaf.Subject.String()}},
	} {
		if len(kind.asked) == 0 {
			continue
		}
		i := slices.IndexFunc(kind.names, func(name string) bool {
			return slices.ContainsFunc(kind.asked, func(m Match) bool { return m.holds(name) })
		})
		if i < 0 {
			return "", fmt.Errorf("the certificate is of the %s %q; it must be %q", kind.what, shorten(strings.Join(kind.names, ", ")), shorten(fmt.Sprint(kind.asked)))
		}
		if subject == "" {
			subject = kind.names[i]
		}
	}
	return subject, nil
}

func uris(parsed []*url.URL) []string {
	texts := make([]string, len(parsed))
	for i, u := range parsed {
		texts[i] = u.String()
	}
	return texts
}

// windows are the times at which a chain leads from the certificate to a root, one for
// each chain. A chain is valid when all its certificates are, so if it is ever, it is when
// the last of them begins to be: chains are looked for at those times only.
func (x *X509) windows(leaf *x509.Certificate, brought []*x509.Certificate) ([]window, error) {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x.config.Usage}}
	begins := []time.Time{leaf.NotBefore}
	for _, c := range x.config.Roots {
		options.Roots.AddCert(c)
		begins = append(begins, c.NotBefore)
	}
	for _, c := range slices.Concat(x.config.Intermediates, brought) {
		options.Intermediates.AddCert(c)
		begins = append(begins, c.NotBefore)
	}
	slices.SortFunc(begins, time.Time.Compare)
	var windows []window
	var last error
	for _, t := range slices.CompactFunc(begins, time.Time.Equal) {
		if t.Before(leaf.NotBefore) || t.After(leaf.NotAfter) {
			continue
		}
		options.CurrentTime = t
		chains, err := leaf.Verify(options)
		if err != nil {
			last = err
			continue
		}
		for _, chain := range chains {
			windows = append(windows, chainWindow(leaf, chain))
		}
	}
	if len(windows) == 0 {
		return nil, fmt.Errorf("the certificate (issued by %q, valid from %s to %s) does not lead to a root: %w", shorten(leaf.Issuer.String()),
			leaf.NotBefore.UTC().Format(timeFormat), leaf.NotAfter.UTC().Format(timeFormat), last)
	}
	return windows, nil
}

func chainWindow(leaf *x509.Certificate, chain []*x509.Certificate) window {
	w := window{keyID: certificateID(leaf), what: fmt.Sprintf("the certificate of %s (issued by %q)", whoever, shorten(leaf.Issuer.String()))}
	for _, c := range chain {
		if w.from.IsZero() || c.NotBefore.After(w.from) {
			w.from = c.NotBefore
		}
		if w.to.IsZero() || c.NotAfter.Before(w.to) {
			w.to = c.NotAfter
		}
	}
	return w
}

// certificateID is the fingerprint of all names of a certificate, not only of those that
// were asked for: two authorities that go by different names of one certificate still
// count it once.
func certificateID(leaf *x509.Certificate) string {
	names := slices.Sorted(slices.Values(slices.Concat(leaf.EmailAddresses, leaf.DNSNames, uris(leaf.URIs))))
	return identity(append([]string{"x509", string(leaf.RawIssuer), string(leaf.RawSubject)}, names...)...)
}
