package attest_test

import (
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// exceptKeys speaks against keys, by their ids.
func exceptKeys(ids ...string) attest.Except {
	return func(ev attest.Evidence, s attest.Signer, _ time.Time) string {
		for _, id := range ids {
			if s.KeyID == id && len(ev.Signers) == 0 {
				return "key " + id + " was revoked"
			}
		}
		return ""
	}
}

// A signature that something is said against counts for nobody, of whatever kind it is, and
// what another key of the same authority, or another authority, has signed does.
func TestVerifyExcept(t *testing.T) {
	one, two := newKey(t), newKey(t)
	first, second := publicKey(t, one).ID, publicKey(t, two).ID
	payload := string(mustJSON(t, statement()))
	both := rawEnvelope(t, one, attest.PayloadType, payload)
	both["signatures"] = append(both["signatures"].([]any), rawEnvelope(t, two, attest.PayloadType, payload)["signatures"].([]any)...)
	att := attest.Attachment{Format: attest.FormatDSSE, Content: mustJSON(t, both)}
	ci := authority(t, "ci", one, two)
	v := attest.NewVerifier(0)
	for range 2 { // the second is of what is kept
		for _, tt := range []struct {
			except attest.Except
			signer string
		}{{nil, first}, {exceptKeys(first), second}, {exceptKeys(second), first}} {
			ev := v.VerifyExcept(att, artifact, []attest.Authority{ci}, noon(), tt.except)
			verified(t, ev, "ci")
			if ev.Signers[0].KeyID != tt.signer {
				t.Errorf("signed by %s, want %s", ev.Signers[0].KeyID, tt.signer)
			}
		}
		refused(t, v.VerifyExcept(att, artifact, []attest.Authority{ci}, noon(), exceptKeys(first, second)), "was revoked; key "+second)
		verified(t, v.VerifyExcept(att, artifact, []attest.Authority{ci, authority(t, "other", two)}, noon(), exceptKeys(first)), "ci", "other")
	}

	// A certificate's, with its time.
	d := newDeployment(t)
	signed := d.sign(d.leaf(identified(issuer, subject), d.ctKey), mustJSON(t, statement())).attachment(t)
	gha := keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})
	refused(t, attest.VerifyExcept(signed, artifact, []attest.Authority{gha}, noon(), func(_ attest.Evidence, s attest.Signer, at time.Time) string {
		if s.Issuer == issuer && s.Subject == subject && at.Equal(noon().Add(time.Minute)) {
			return "the identity was revoked"
		}
		return ""
	}), "the identity was revoked")

	// A functionary's link counts for no layout.
	link := asLink(t, metablock(t, link(), one))
	step := []attest.Authority{functionary(t, "step", one)}
	if ev := attest.VerifyExcept(link, artifact, step, noon(), exceptKeys(second)); len(ev.Functionaries) != 1 {
		t.Errorf("functionaries %v (%s)", ev.Functionaries, ev.Problem)
	}
	if ev := attest.VerifyExcept(link, artifact, step, noon(), exceptKeys(first)); len(ev.Functionaries) != 0 || ev.Verified() {
		t.Errorf("functionaries %v", ev.Functionaries)
	}

	// A Notary Project signature.
	p := newPKI(t)
	for _, format := range notaryFormats() {
		att := notarySign(t, format, newLeaf(t, p.ca, "release", one))
		att.Target = known(ocispec.MediaTypeImageManifest, 123)
		ev := attest.VerifyExcept(att, artifact, trusting(p.trust), noon(), exceptKeys(first))
		verified(t, ev, "release-signers")
		refused(t, attest.VerifyExcept(att, artifact, trusting(p.trust), noon(), exceptKeys(ev.Signers[0].KeyID)), "was revoked")
	}
}
