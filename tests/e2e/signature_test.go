package e2e_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// signedPolicy asks for what cosign sign makes, in whatever format.
const signedPolicy = `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: signed}
spec:
  from: dev
  to: stable
  authorities: [{name: ci, key: {file: %s}}]
  require:
    - {name: signed, predicateTypes: ["https://sigstore.dev/cosign/sign/v1"], from: {authorities: [ci]}}
`

// signatureJob has cosign sign in both of its formats, and a policy ask for the signature.
func signatureJob(t *testing.T, s *server, _ *http.Client) {
	public := strings.TrimSuffix(s.key(), ".key") + ".pub"
	for _, format := range []string{"bundle", "tag"} {
		t.Run(format, func(t *testing.T) {
			s := *s
			s.T = t
			h := clients.New(t)
			policy := h.File("signed.yaml", fmt.Appendf(nil, signedPolicy, public))
			digest := craneImage(t, h, s.host, "signature/"+format, "1.0")
			ref := s.host + "/dev/signature/" + format + "@" + digest
			has(t, s.run(3, "policy", "test", policy, "--ref", ref), "no attestation https://sigstore.dev/cosign/sign/v1 by ci")

			h.Run("cosign", "generate-key-pair", "--output-key-prefix", "stranger")
			sign := func(c *clients.Cosign) {
				if format == "bundle" {
					c.Sign(ref)
				} else {
					c.SignTag(ref)
				}
			}
			sign(h.CosignWith(h.Dir()+"/stranger.key", h.Dir()+"/stranger.pub"))
			has(t, s.run(3, "policy", "test", policy, "--ref", ref), "no authority signed it")
			sign(h.CosignWith(s.key(), public))
			has(t, s.run(0, "policy", "test", policy, "--ref", ref), "would let", "by ci")
			shown := s.run(0, "evidence", ref)
			has(t, shown, "https://sigstore.dev/cosign/sign/v1")
			if format == "tag" {
				has(t, shown, "cosign-sig")
			}
		})
	}
}
