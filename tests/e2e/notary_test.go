package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tests/apispec"
	"sluice.dev/sluice/tests/clients"
)

// TestNotary lets images rise by what notation signed, under a trust store of our own.
func TestNotary(t *testing.T) {
	s := serveEmbedded(t)
	api := &http.Client{Transport: apispec.New(t).Wrap(t, nil)}
	root, rootKey := certify(t, "acme root", nil, nil)
	leaf, leafKey := certify(t, "release", root, rootKey)
	h := clients.New(t)
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	trust := inPEM("CERTIFICATE", root.Raw)
	notation := h.NotationWith("release", inPEM("PRIVATE KEY", der), append(inPEM("CERTIFICATE", leaf.Raw), trust...))

	put := func(identity string) {
		t.Helper()
		s.Helper()
		s.putPolicy(api, "dev-to-stable", map[string]any{
			"apiVersion": "sluice.dev/v1alpha1", "kind": "TierPolicy", "metadata": map[string]any{"name": "dev-to-stable"},
			"spec": map[string]any{
				"from": "dev", "to": "stable", "carry": "verified",
				"authorities": []any{map[string]any{"name": "release-signers", "notary": map[string]any{
					"trustStore": map[string]any{"pem": string(trust)}, "identities": []string{identity},
				}}},
				"require": []any{map[string]any{
					"name": "signed", "predicateTypes": []string{"https://notaryproject.dev/signature/v1"}, "maxAge": "1h",
					"from":  map[string]any{"authorities": []string{"release-signers"}},
					"where": []string{"predicate.targetArtifact.mediaType == 'application/vnd.oci.image.index.v1+json'"},
				}},
			},
		})
	}
	put("x509.subject: C=US, ST=WA, O=acme, CN=somebody else")
	for repository, sign := range map[string]func(string){"notary/jws": notation.SignTag, "notary/cose": notation.Sign} {
		image := craneImage(t, h, s.host, repository, "1.0")
		ref := s.host + "/dev/" + repository + "@" + image
		has(t, s.run(3, "promote", s.host+"/dev/"+repository+":1.0", "--to", "stable"),
			"no attestation https://notaryproject.dev/signature/v1 by release-signers", "notation sign "+s.host+"/dev/"+repository)
		sign(ref)
		said := s.run(3, "promote", s.host+"/dev/"+repository+":1.0", "--to", "stable")
		has(t, strings.Join(strings.Fields(said), " "), // as it is before lines are broken
			`the certificate is of "CN=release,O=acme,ST=WA,C=US", which is none of the identities x509.subject: C=US, ST=WA, O=acme, CN=somebody else`)
	}
	put("x509.subject: C=US, ST=WA, O=acme, CN=release")
	for repository, format := range map[string]string{"notary/jws": "notary-jws", "notary/cose": "notary-cose"} {
		ref := s.host + "/dev/" + repository + ":1.0"
		has(t, s.run(0, "evidence", ref), "release-signers")
		has(t, s.run(0, "evidence", "-o", "json", ref), `"`+format+`"`, `"https://notaryproject.dev/signature/v1"`)
		s.run(0, "promote", ref, "--to", "stable")
		image := strings.TrimSpace(h.Run("crane", "digest", "--insecure", s.host+"/stable/"+repository+":1.0"))
		// The signature rose with it; the referrers tag, which notation writes, did not.
		has(t, notation.List(s.host+"/stable/"+repository+"@"+image), "application/vnd.cncf.notary.signature")
		if tags := h.Run("crane", "ls", "--insecure", s.host+"/stable/"+repository); strings.Contains(tags, "sha256-") {
			t.Errorf("the referrers tag rose: %s", tags)
		}
	}
}

// putPolicy replaces a policy that is in force.
func (s *server) putPolicy(api *http.Client, name string, document any) {
	s.Helper()
	data, err := json.Marshal(document)
	if err != nil {
		s.Fatal(err)
	}
	req, err := http.NewRequestWithContext(s.Context(), "PUT", s.url+"/api/v1/policies/"+name, strings.NewReader(string(data)))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("If-Match", "*")
	resp, err := api.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		s.Fatalf("put policy %s: %s", name, resp.Status)
	}
}

// certify makes a certificate that signs code, or a root where there is no issuer.
func certify(t *testing.T, name string, issuer *x509.Certificate, issuerKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), BasicConstraintsValid: true,
		Subject:   pkix.Name{Country: []string{"US"}, Province: []string{"WA"}, Organization: []string{"acme"}, CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if issuer == nil {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
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

func inPEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
