package policy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const notaryAuthority = `{name: b, notary: {trustStore: {file: ca.pem}, timestampRoots: {file: tsa.pem}, identities: ["x509.subject: C=US, ST=WA, O=acme, CN=release"]}}`

const notaryRule = "    - {name: signed, predicateTypes: [\"https://notaryproject.dev/signature/v1\"], from: {authorities: [b]}}\n"

// withNotary is a document whose authority b signs with notation, and its files.
func withNotary(t testing.TB, require string) (keyring, string) {
	t.Helper()
	keys := newKeyring(t, "a", "b", "c")
	root, rootKey := notaryCertificate(t, "root", true, nil, nil)
	ca, _ := notaryCertificate(t, "ca", true, root, rootKey)
	leaf, _ := notaryCertificate(t, "release", false, root, rootKey)
	tsa, _ := notaryCertificate(t, "tsa", true, nil, nil)
	for name, cert := range map[string]*x509.Certificate{"ca.pem": root, "intermediate.pem": ca, "leaf.pem": leaf, "tsa.pem": tsa} {
		keys[name] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	return keys, strings.Replace(document(require), "{name: b, key: {file: b.pub}}", notaryAuthority, 1)
}

func notaryCertificate(t testing.TB, name string, ca bool, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if issuer == nil {
		issuer, issuerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestNotaryAuthority(t *testing.T) {
	keys, text := withNotary(t, notaryRule)
	p := load(t, keys, text)
	b := p.Authorities()[1]
	if b.Notary == nil || len(b.Keys) != 0 || b.Principal != "b" || len(b.Notary.CAs) != 1 || len(b.Notary.TimestampRoots) != 1 ||
		b.Notary.SigningAuthorities != nil || b.Notary.Identities[0].String() != "x509.subject: C=US, ST=WA, O=acme, CN=release" {
		t.Errorf("got %+v", b)
	}
	again, err := Load(p.Canonical(), nil)
	if err != nil {
		t.Fatalf("load canonical: %v\n%s", err, p.Canonical())
	}
	if again.Digest() != p.Digest() || !bytes.Equal(again.Canonical(), p.Canonical()) {
		t.Errorf("canonical form moved:\n%s\n%s", p.Canonical(), again.Canonical())
	}
	if got := p.Warnings(); len(got) != 1 { // a and d share a key
		t.Errorf("warnings %q", got)
	}
	keys["ca.pem"] = append([]byte("\n\n"), keys["ca.pem"]...)
	if load(t, keys, text).Digest() != p.Digest() {
		t.Error("white space in a trust store changed the digest")
	}
	keys["ca.pem"] = append(keys["ca.pem"], keys["intermediate.pem"]...)
	if load(t, keys, text).Digest() == p.Digest() {
		t.Error("another trust store has the same digest")
	}
	everyone := load(t, keys, strings.Replace(text, `"x509.subject: C=US, ST=WA, O=acme, CN=release"`, `"*"`, 1))
	if got := everyone.Authorities()[1].Notary.Identities; len(got) != 1 || got[0].String() != "*" {
		t.Errorf("identities %v", got)
	}
}

func TestNotaryAuthorityRefused(t *testing.T) {
	keys, good := withNotary(t, notaryRule)
	keys["both.pem"], keys["empty.pem"] = append(keys["leaf.pem"], keys["ca.pem"]...), []byte("\n")
	for _, tt := range []struct{ name, old, new, want string }{
		{"missing file", "ca.pem", "gone.pem", `spec.authorities[1].notary.trustStore.file: read "gone.pem"`},
		{"no certificate", "ca.pem", "empty.pem", "no certificate of a CA"},
		{"no CA", "ca.pem", "leaf.pem", `"CN=release" is not of a CA`},
		{"not only CAs", "ca.pem", "both.pem", `"CN=release" is not of a CA`},
		{"a key", "ca.pem", "a.pub", `PEM block "PUBLIC KEY"`},
		{"timestamp root is none", "tsa.pem", "intermediate.pem", `timestampRoots: the certificate "CN=ca" is no root`},
		{"timestamp root is a leaf", "tsa.pem", "leaf.pem", "timestampRoots.file: is no trust store"},
		{"no store", "trustStore: {file: ca.pem}, ", "", "notary.trustStore: is missing"},
		{"timestamps for nothing", "trustStore: {file: ca.pem}", "signingAuthorities: {file: ca.pem}", "timestampRoots: does nothing without trustStore"},
		{"empty store", "{file: ca.pem}", "{}", "trustStore: is missing"},
		{"file and pem", "{file: ca.pem}", "{file: ca.pem, pem: x}", "names a file and a pem"},
		{"bad pem", "{file: ca.pem}", "{pem: x}", "trustStore.pem: is no trust store in PEM"},
		{"unknown store", "trustStore:", "trustStores:", `unknown key "trustStores"`},
		{"a level", "trustStore:", "level: audit, trustStore:", `unknown key "level"`},
		{"no identities", `"x509.subject: C=US, ST=WA, O=acme, CN=release"`, "", "identities: is missing"},
		{"unknown attribute", "CN=release", "X=release", `identities[0]: "x509.subject: C=US, ST=WA, O=acme, X=release": the attribute "X" is unknown`},
		{"no state", "ST=WA, ", "", "it has no ST"},
		{"no country", "C=US, ", "", "it has no C"},
		{"no organization", "O=acme, ", "", "it has no O"},
		{"twice", `CN=release"`, `CN=release", "x509.subject: CN=release, O=acme, ST=WA, C=US"`, "identities[1]: "},
		{"overlap", `CN=release"`, `CN=release", "x509.subject: C=US, ST=WA, O=acme"`, "overlaps with"},
		{"anyone and someone", `CN=release"`, `CN=release", "*"`, "overlaps with"},
		{"key beside it", "{name: b, ", "{name: b, key: {file: b.pub}, ", "has key and notary: an authority signs in one way"},
		{"window", "{name: b, ", "{name: b, notAfter: 2027-01-01T00:00:00Z, ", "notAfter: is for a key"},
		{"nothing", "notary: {trustStore: {file: ca.pem}, timestampRoots: {file: tsa.pem}, identities: [\"x509.subject: C=US, ST=WA, O=acme, CN=release\"]}", "notary: {}", "notary.trustStore: is missing"},
		{"null", "notary: {trustStore: {file: ca.pem}, timestampRoots: {file: tsa.pem}, identities: [\"x509.subject: C=US, ST=WA, O=acme, CN=release\"]}", "notary:", "is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(good, tt.old) {
				t.Fatalf("the document lacks %q", tt.old)
			}
			p, err := Load([]byte(strings.Replace(good, tt.old, tt.new, 1)), keys.read)
			if p != nil {
				t.Error("a policy beside the error")
			}
			if err := wants(err, oci.ErrPolicyInvalid, tt.want); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := Load([]byte(good), nil); wants(err, oci.ErrPolicyInvalid, "ca.pem\": files cannot be read here, give its pem") != nil {
		t.Errorf("got %v", err)
	}
}

func TestNotaryWarnings(t *testing.T) {
	for rule, want := range map[string]string{
		notaryRule: "",
		strings.Replace(notaryRule, "[b]", "[a, b]", 1):                                  "a has no notary and can never satisfy https://notaryproject.dev/signature/v1",
		strings.Replace(plainRule, "[a]", "[b]", 1):                                      "b signs with notation and can never satisfy https://slsa.dev/provenance/v1",
		strings.Replace(notaryRule, "[b]", "[b, c], threshold: 2", 1):                    "c has no notary", // and principal b counts once
		strings.Replace(notaryRule, "[\"", "[\"https://slsa.dev/provenance/v1\", \"", 1): "",
	} {
		keys, text := withNotary(t, rule)
		got := strings.Join(load(t, keys, text).Warnings(), "\n")
		if !strings.Contains(got, want) || want == "" && strings.Contains(got, "never") {
			t.Errorf("%s: warnings %q, want %q", rule, got, want)
		}
	}
}

// A signature has no time that is proven but the signed one, and notation makes another.
func TestNotaryEvaluated(t *testing.T) {
	keys, text := withNotary(t, strings.Replace(notaryRule, "}}", "}, maxAge: 168h, where: [\"predicate.targetArtifact.annotations.build == '17'\"]}", 1))
	p := load(t, keys, text)
	s := scene{t, keys}
	signature := func(build string, when time.Time) attest.Evidence {
		e := s.signed("signature", attest.PredicateNotary, map[string]any{
			"targetArtifact": map[string]any{"annotations": map[string]any{"build": build}},
			"signature":      map[string]any{"scheme": "notary.x509", "signingTime": when.Format(time.RFC3339)},
		}, "b")
		return e
	}
	decided(t, p.Evaluate(s.facts(signature("17", noon.Add(-time.Hour)))), true, "by b")
	decided(t, p.Evaluate(s.facts(signature("18", noon.Add(-time.Hour)))), false, "predicate.targetArtifact.annotations.build == '17'")
	decided(t, p.Evaluate(s.facts(signature("17", noon.AddDate(0, 0, -8)))), false, "maxAge is 168h")
	decided(t, p.Evaluate(s.facts(signature("17", noon.AddDate(0, 0, 8)))), false, "which is in the future")
	// Stamped anew it is no younger.
	decided(t, p.Evaluate(s.facts(at(signature("17", noon.AddDate(0, 0, -8)), noon))), false, "maxAge is 168h")
	decided(t, p.Evaluate(s.facts(at(signature("17", noon.Add(-time.Hour)), noon))), true, "by b")
	v := p.Evaluate(s.facts(broken(signature("17", noon), "the signature expired at 2026-01-01T00:00:00Z")))
	decided(t, v, false, "no attestation https://notaryproject.dev/signature/v1 by b")
	if want := "notation sign localhost:5000/dev/acme/app:1.0@" + root.String(); v.Rules[0].Remedy != want || !strings.Contains(v.Rules[0].Message, "the signature expired") {
		t.Errorf("remedy %q, message %q", v.Rules[0].Remedy, v.Rules[0].Message)
	}
}
