package clients

import "encoding/json"

// notationName is the common name of the certificate that NewNotation makes, and so the
// name of its key and of the trust store that holds it.
const notationName = "signer.example.com"

// Notation signs and verifies as the Notary Project does, with a certificate of its own and
// without a timestamp authority.
type Notation struct{ home *Home }

// NewNotation makes a key, a certificate that expires in a day, and a trust policy that
// trusts this certificate alone, for every repository.
func (h *Home) NewNotation() *Notation {
	h.tb.Helper()
	h.Run("notation", "cert", "generate-test", "--default", notationName)
	policy := h.File("notation/trustpolicy.json", []byte(`{"version":"1.0","trustPolicies":[{"name":"signer","registryScopes":["*"],`+
		`"signatureVerification":{"level":"strict"},"trustStores":["ca:`+notationName+`"],"trustedIdentities":["*"]}]}`))
	h.Run("notation", "policy", "import", policy)
	return &Notation{home: h}
}

// SignTag attaches a JWS signature as a referrer and enters it in the referrers tag as
// well. That is notation's default, whatever the registry offers.
func (n *Notation) SignTag(ref string) {
	n.home.tb.Helper()
	n.home.Run("notation", "sign", "--insecure-registry", ref)
}

// Sign attaches a COSE signature as a referrer, and leaves the referrers tag alone where
// the registry has the referrers API.
func (n *Notation) Sign(ref string) {
	n.home.tb.Helper()
	n.home.Run("notation", "sign", "--insecure-registry", "--force-referrers-tag=false", "--signature-format", "cose", ref)
}

// SignRefused is Sign where the registry has to say no; it returns what notation said.
func (n *Notation) SignRefused(ref string) string {
	n.home.tb.Helper()
	return n.home.Refused("notation", "sign", "--insecure-registry", "--force-referrers-tag=false", ref)
}

// List returns the tree of signatures as notation prints it.
func (n *Notation) List(ref string) string {
	n.home.tb.Helper()
	return n.home.Run("notation", "list", "--insecure-registry", ref)
}

// Verify checks that a signature satisfies the trust policy.
func (n *Notation) Verify(ref string) {
	n.home.tb.Helper()
	n.home.Run("notation", "verify", "--insecure-registry", ref)
}

// VerifyRefused is Verify where notation must not be satisfied; it returns what it said.
func (n *Notation) VerifyRefused(ref string) string {
	n.home.tb.Helper()
	return n.home.Refused("notation", "verify", "--insecure-registry", ref)
}

// NotationWith signs with a key of one's own and the certificates above it, in PEM, the
// signer's first. It trusts nobody: it is there to sign.
func (h *Home) NotationWith(name string, key, chain []byte) *Notation {
	h.tb.Helper()
	keys, err := json.Marshal(map[string]any{"default": name, "keys": []map[string]string{{
		"name": name, "keyPath": h.File("notation/"+name+".key", key), "certPath": h.File("notation/"+name+".crt", chain),
	}}})
	if err != nil {
		h.tb.Fatal(err)
	}
	h.write(".config/notation/signingkeys.json", keys)
	return &Notation{home: h}
}
