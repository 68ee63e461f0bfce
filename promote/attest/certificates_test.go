package attest_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

func exactly(texts ...string) []attest.Match {
	var all []attest.Match
	for _, text := range texts {
		all = append(all, attest.Exactly(text))
	}
	return all
}

func ownCA(t testing.TB, config attest.X509Config) attest.Authority {
	t.Helper()
	x, err := attest.NewX509(config)
	if err != nil {
		t.Fatal(err)
	}
	return attest.Authority{Name: "corp", X509: x}
}

// named is a certificate with every kind of name, valid for a year from noon on.
func named(c *x509.Certificate) {
	c.NotAfter = noon().AddDate(1, 0, 0)
	c.Subject = pkix.Name{CommonName: "Release", Organization: []string{"acme"}}
	c.EmailAddresses = []string{"release@example.com", "ops@example.com"}
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: "acme", Path: "/release"}}
	c.DNSNames = []string{"build.example.com"}
}

func TestVerifyX509(t *testing.T) {
	d := newDeployment(t)
	payload := mustJSON(t, statement())
	leaf := issue(t, d.issuing, newKey(t), named)
	roots, issuing := []*x509.Certificate{d.rootCA.Certificate}, []*x509.Certificate{d.issuing.Certificate}
	all := attest.X509Config{Roots: roots, Intermediates: issuing, Emails: exactly("x@y.z", "release@example.com"), URIs: []attest.Match{anchored(t, "^spiffe://acme/.*$")},
		DNSNames: exactly("build.example.com"), Subjects: exactly("CN=Release,O=acme")}
	bare := d.sign(leaf, payload)
	bare.entries = nil
	for name, config := range map[string]attest.X509Config{
		"email":   {Roots: roots, Intermediates: issuing, Emails: exactly("ops@example.com")},
		"URI":     {Roots: roots, Intermediates: issuing, URIs: exactly("spiffe://acme/release")},
		"DNS":     {Roots: roots, Intermediates: issuing, DNSNames: exactly("build.example.com")},
		"subject": {Roots: roots, Intermediates: issuing, Subjects: exactly("CN=Release,O=acme")},
		"all":     all,
	} {
		ev := attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, config)}, noon().AddDate(0, 6, 0))
		verified(t, ev, "corp")
		s := ev.Signers[0]
		first := attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, all)}, noon().AddDate(0, 6, 0)).Signers[0]
		if s.Issuer != "CN=issuing,O=acme" || s.Subject == "" || s.KeyID != first.KeyID {
			t.Errorf("%s: got %+v: whatever name it is known by, it counts once as %s", name, s, first.KeyID)
		}
	}
	// The chain comes along, in bundles of each version and in cosign's annotations; it may
	// hold the root too.
	brought := attest.X509Config{Roots: roots, Emails: exactly("release@example.com")}
	refused(t, attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, brought)}, noon()), "does not lead to a root")
	bare.chain = []*authorityCA{d.issuing}
	verified(t, attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, brought)}, noon()), "corp")
	verified(t, attest.Verify(bare.annotated(t), artifact, []attest.Authority{ownCA(t, brought)}, noon()), "corp")
	bare.chain = append(bare.chain, d.rootCA)
	verified(t, attest.Verify(bare.annotated(t), artifact, []attest.Authority{ownCA(t, brought)}, noon()), "corp")
	for _, version := range []string{"1", "2"} {
		bare.version = "application/vnd.dev.sigstore.bundle+json;version=0." + version
		verified(t, attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, brought)}, noon()), "corp")
	}
	signed := d.simpleSigned(leaf, simplePayload(t, artifact.String()), time.Time{})
	verified(t, attest.Verify(signed, artifact, []attest.Authority{ownCA(t, all)}, noon()), "corp")
	// A renewed certificate of the same names is the same signer.
	renewed := d.sign(issue(t, d.issuing, newKey(t), named), payload)
	both := attest.Verify(renewed.attachment(t), artifact, []attest.Authority{ownCA(t, all)}, noon())
	if want := attest.Verify(bare.attachment(t), artifact, []attest.Authority{ownCA(t, all)}, noon()); both.Signers[0] != want.Signers[0] {
		t.Errorf("%+v and %+v", both.Signers, want.Signers)
	}
}

// Evidence 8 and 9 for authorities of one's own.
func TestVerifyX509Refuses(t *testing.T) {
	d, stranger := newDeployment(t), newDeployment(t)
	payload := mustJSON(t, statement())
	good := attest.X509Config{Roots: []*x509.Certificate{d.rootCA.Certificate}, Intermediates: []*x509.Certificate{d.issuing.Certificate}, Emails: exactly("release@example.com")}
	with := func(change func(*x509.Certificate)) *authorityCA {
		return issue(t, d.issuing, newKey(t), func(c *x509.Certificate) { named(c); change(c) })
	}
	for _, tt := range []struct {
		name string
		leaf *authorityCA
		now  time.Time
		want string
	}{
		{"another email", with(func(c *x509.Certificate) { c.EmailAddresses = []string{"evil@example.com"} }), noon(), `of the email "evil@example.com"; it must be "[release@example.com]"`},
		{"no email", with(func(c *x509.Certificate) { c.EmailAddresses = nil }), noon(), "of the email"},
		{"upper case", with(func(c *x509.Certificate) { c.EmailAddresses = []string{"Release@example.com"} }), noon(), "of the email"},
		{"another root", issue(t, stranger.issuing, newKey(t), named), noon(), "does not lead to a root"},
		{"self-signed", issue(t, nil, newKey(t), named), noon(), "does not lead to a root"},
		{"no code signing", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), noon(), "extended key usage"},
		{"any use", with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), noon(), "extended key usage"},
		{"no use", with(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), noon(), "extended key usage"},
		{"not for signatures", with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), noon(), "not for signatures"},
		{"a CA", with(func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), noon(), "is a CA's"},
		{"expired", with(func(*x509.Certificate) {}), noon().AddDate(2, 0, 0), `the certificate of corp (issued by "CN=issuing,O=acme") expired at 2027-11-22T12:00:00Z, and nothing proves when it signed`},
		{"not yet valid", with(func(*x509.Certificate) {}), noon().Add(-time.Hour), "is not valid before 2026-11-22T12:00:00Z"},
		{"outlives its issuer", with(func(c *x509.Certificate) { c.NotAfter = noon().AddDate(20, 0, 0) }), noon().AddDate(15, 0, 0), "expired at 2036-11-22"},
		{"a key", plainKey(newKey(t)), noon(), "it is not signed with a certificate of corp, but with a key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := d.sign(tt.leaf, payload)
			b.entries = nil
			refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, good)}, tt.now), tt.want)
		})
	}
	// The other kinds have to fit too.
	both := good
	both.DNSNames = exactly("other.example.com")
	b := d.sign(with(func(*x509.Certificate) {}), payload)
	refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, both)}, noon()), `of the DNS name "build.example.com"`)
	// A chain that the signer brings ends where the policy says, not where the signer says.
	foreign := d.sign(issue(t, stranger.issuing, newKey(t), named), payload)
	foreign.entries, foreign.chain = nil, []*authorityCA{stranger.issuing}
	refused(t, attest.Verify(foreign.attachment(t), artifact, []attest.Authority{ownCA(t, good)}, noon()), "does not lead to a root")
	foreign.chain = append(foreign.chain, stranger.rootCA)
	refused(t, attest.Verify(foreign.annotated(t), artifact, []attest.Authority{ownCA(t, good)}, noon()), "does not lead to a root")
	// The signature of another.
	b.signer = with(func(*x509.Certificate) {})
	refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, good)}, noon()), "does not verify it")
}

// With timestamps a certificate is judged at the time that they prove.
func TestVerifyX509Times(t *testing.T) {
	d, stranger := newDeployment(t), newDeployment(t)
	leaf := issue(t, d.issuing, newKey(t), named)
	config := attest.X509Config{Roots: []*x509.Certificate{d.rootCA.Certificate}, Intermediates: []*x509.Certificate{d.issuing.Certificate},
		Emails: exactly("release@example.com"), Timestamps: &attest.Timestamps{Root: d.trustedRoot(nil), Threshold: 1}}
	now := noon().AddDate(2, 0, 0)
	minute := noon().Add(time.Minute)
	for _, tt := range []struct {
		name string
		by   *deployment
		at   time.Time
		want string
	}{
		{"in time", d, minute, ""},
		{"too late", d, noon().AddDate(1, 1, 0), "expired at 2027-11-22T12:00:00Z, and signed at"},
		{"too early", d, noon().Add(-time.Hour), "is not valid before"},
		{"by a stranger", stranger, minute, "nothing proves when it signed: 0 of 1 verified times"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := d.sign(leaf, mustJSON(t, statement()))
			b.entries, b.stamps = nil, [][]byte{tt.by.stamp(tt.by.tsa, b.sig, tt.at)}
			ev := attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, config)}, now)
			if tt.want == "" {
				provenAt(t, ev, tt.at, "corp")
			} else {
				refused(t, ev, tt.want)
			}
		})
	}
	b := d.sign(leaf, mustJSON(t, statement()))
	provenAt(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, config)}, now), minute, "corp")
	b.entries = d.sign(leaf, []byte(`{}`)).entries
	refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{ownCA(t, config)}, now), "about something else")
}

// Of a renewed issuer and its predecessor each is valid in its own time.
func TestVerifyX509RenewedIssuer(t *testing.T) {
	d := newDeployment(t)
	key := newKey(t)
	old := issue(t, d.rootCA, key, func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = pkix.Name{CommonName: "renewed"}, true, true, x509.KeyUsageCertSign, nil
		c.NotAfter = noon().AddDate(0, 1, 0)
	})
	renewed := issue(t, d.rootCA, key, func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = pkix.Name{CommonName: "renewed"}, true, true, x509.KeyUsageCertSign, nil
		c.NotBefore, c.NotAfter = noon().AddDate(0, 2, 0), noon().AddDate(0, 3, 0)
	})
	trusted := ownCA(t, attest.X509Config{Roots: []*x509.Certificate{d.rootCA.Certificate}, Intermediates: []*x509.Certificate{old.Certificate, renewed.Certificate}, Emails: exactly("release@example.com")})
	b := d.sign(issue(t, old, newKey(t), named), mustJSON(t, statement()))
	for months, good := range map[int]bool{0: true, 1: true, 2: true, 3: true, 4: false} {
		now := noon().AddDate(0, months, 0)
		if months == 1 {
			now = now.Add(-time.Second)
		}
		if ev := attest.Verify(b.attachment(t), artifact, []attest.Authority{trusted}, now); ev.Verified() != good {
			t.Errorf("after %d months: %q", months, ev.Problem)
		}
	}
	refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{trusted}, noon().AddDate(0, 1, 5)), "expired at 2026-12-22T12:00:00Z")
}

func TestNewX509Refuses(t *testing.T) {
	d := newDeployment(t)
	roots := []*x509.Certificate{d.rootCA.Certificate}
	weak := issue(t, nil, newRSA(t, 1024), func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
	for want, config := range map[string]attest.X509Config{
		"a root is needed":         {Emails: exactly("a@b.c")},
		"somebody has to be named": {Roots: roots},
		"a name is empty":          {Roots: roots, Emails: exactly("")},
		"is not a CA's":            {Roots: []*x509.Certificate{d.tsa.Certificate}, Emails: exactly("a@b.c")},
		`"" is not a CA's`:         {Roots: roots, Intermediates: []*x509.Certificate{d.tsa.Certificate}, Emails: exactly("a@b.c")},
		"1024 bits":                {Roots: []*x509.Certificate{weak.Certificate}, Emails: exactly("a@b.c")},
	} {
		if _, err := attest.NewX509(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestParseCertificates(t *testing.T) {
	d := newDeployment(t)
	good := string(attest.MarshalCertificates([]*x509.Certificate{d.rootCA.Certificate, d.issuing.Certificate}))
	if found, err := attest.ParseCertificates([]byte("# a comment\n" + good)); err != nil || len(found) != 2 || !found[1].Equal(d.issuing.Certificate) {
		t.Errorf("%d, %v", len(found), err)
	}
	for want, text := range map[string]string{
		"no certificate": "root",
		"damaged":        good + "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
		"at most 64":     strings.Repeat(good, 33),
		"must be a":      string(pemKey(t, newKey(t).Public())),
		"x509":           "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
	} {
		if _, err := attest.ParseCertificates([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
