package clients

// VSA is what a consumer expects of a verification summary, as slsa-verifier asks for it.
type VSA struct {
	Digest, Verifier, Resource, Level string
	PublicKey                         string // file
}

// VerifyVSA has slsa-verifier check a summary in a file, a DSSE envelope.
func (h *Home) VerifyVSA(attestation string, want VSA) {
	h.tb.Helper()
	h.Run("slsa-verifier", want.args(attestation)...)
}

// VerifyVSARefused is VerifyVSA where slsa-verifier must not be satisfied; it returns what
// it said.
func (h *Home) VerifyVSARefused(attestation string, want VSA) string {
	h.tb.Helper()
	return h.Refused("slsa-verifier", want.args(attestation)...)
}

func (v VSA) args(attestation string) []string {
	return []string{
		"verify-vsa", "--attestation-path", attestation, "--subject-digest", v.Digest, "--verifier-id", v.Verifier,
		"--resource-uri", v.Resource, "--verified-level", v.Level, "--public-key-path", v.PublicKey,
	}
}
