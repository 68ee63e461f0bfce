package clients

import (
	"os"
	"path/filepath"
)

// Cosign signs and verifies with a key and without Sigstore's public servers. The methods
// are those of a user who has no network but the registry.
type Cosign struct {
	home *Home

	// PrivateKey and PublicKey are the paths of a key pair with an empty password.
	PrivateKey, PublicKey string

	signingConfig, trustedRoot string
}

// NewCosign makes a key pair, a signing configuration that names no service, and an empty
// trusted root. Without the last two cosign asks its public servers.
func (h *Home) NewCosign() *Cosign {
	h.tb.Helper()
	dir := filepath.Join(h.Dir(), "cosign")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.tb.Fatal(err)
	}
	prefix := filepath.Join(dir, "cosign")
	h.Run("cosign", "generate-key-pair", "--output-key-prefix", prefix)
	return h.CosignWith(prefix+".key", prefix+".pub")
}

// CosignWith is NewCosign with a key pair that exists. The private key may be "" where
// only verifying is wanted, and the other way round.
func (h *Home) CosignWith(private, public string) *Cosign {
	h.tb.Helper()
	config := h.File("cosign/signing-config.json", []byte(h.Run("cosign", "signing-config", "create")))
	root := filepath.Join(h.Dir(), "cosign", "trusted-root.json")
	h.Run("cosign", "trusted-root", "create", "--out", root)
	return &Cosign{home: h, PrivateKey: private, PublicKey: public, signingConfig: config, trustedRoot: root}
}

// Attest attaches a Sigstore bundle with the predicate in a file. ref names a digest. The
// type is one of cosign's short names (slsaprovenance1, spdxjson) or a full URI.
func (c *Cosign) Attest(ref, predicateType, predicate string) {
	c.home.tb.Helper()
	c.home.Run("cosign", c.attest(ref, predicateType, predicate)...)
}

// AttestRefused is Attest where the registry has to say no; it returns what cosign said.
func (c *Cosign) AttestRefused(ref, predicateType, predicate string) string {
	c.home.tb.Helper()
	return c.home.Refused("cosign", c.attest(ref, predicateType, predicate)...)
}

func (c *Cosign) attest(ref, predicateType, predicate string) []string {
	return []string{
		"attest", "--key", c.PrivateKey, "--signing-config", c.signingConfig, "--trusted-root", c.trustedRoot,
		"--allow-http-registry", "--yes", "--type", predicateType, "--predicate", predicate, ref,
	}
}

// AttestTag attaches the predicate the old way, DSSE under the tag sha256-….att.
func (c *Cosign) AttestTag(ref, predicateType, predicate string) {
	c.home.tb.Helper()
	c.home.Run("cosign", "attest", "--key", c.PrivateKey, "--use-signing-config=false", "--new-bundle-format=false",
		"--tlog-upload=false", "--allow-http-registry", "--yes", "--type", predicateType, "--predicate", predicate, ref)
}

// Sign attaches a signature as a Sigstore bundle.
func (c *Cosign) Sign(ref string) {
	c.home.tb.Helper()
	c.home.Run("cosign", "sign", "--key", c.PrivateKey, "--signing-config", c.signingConfig, "--trusted-root", c.trustedRoot,
		"--allow-http-registry", "--yes", ref)
}

// SignTag attaches a signature the old way, under the tag sha256-….sig.
func (c *Cosign) SignTag(ref string) {
	c.home.tb.Helper()
	c.home.Run("cosign", "sign", "--key", c.PrivateKey, "--use-signing-config=false", "--new-bundle-format=false",
		"--tlog-upload=false", "--allow-http-registry", "--yes", ref)
}

// VerifyAttestation checks with the public key that an attestation of the type is there,
// and returns what cosign printed of it: one DSSE envelope a line.
func (c *Cosign) VerifyAttestation(ref, predicateType string) string {
	c.home.tb.Helper()
	return c.home.Run("cosign", c.verify(ref, predicateType)...)
}

// VerifyAttestationRefused is VerifyAttestation where cosign must not be satisfied.
func (c *Cosign) VerifyAttestationRefused(ref, predicateType string) string {
	c.home.tb.Helper()
	return c.home.Refused("cosign", c.verify(ref, predicateType)...)
}

func (c *Cosign) verify(ref, predicateType string) []string {
	return []string{
		"verify-attestation", "--key", c.PublicKey, "--trusted-root", c.trustedRoot,
		"--insecure-ignore-tlog=true", "--allow-http-registry", "--type", predicateType, ref,
	}
}
