package attest_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

func simplePayload(t testing.TB, image string) []byte {
	t.Helper()
	return mustJSON(t, object{
		"critical": object{"identity": object{"docker-reference": "example.com/acme/app"}, "image": object{"docker-manifest-digest": image}, "type": "cosign container image signature"},
		"optional": object{"build": 7},
	})
}

func TestVerifySimpleSigning(t *testing.T) {
	d := newDeployment(t)
	minute := noon().Add(time.Minute)
	key := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", key)}
	payload := simplePayload(t, artifact.String())
	ev := attest.Verify(d.simpleSigned(plainKey(key), payload, time.Time{}), artifact, trusted, noon())
	verified(t, ev, "ci")
	if ev.PredicateType != attest.PredicateTypeSign || ev.Predicate()["optional"].(object)["build"] != int64(7) {
		t.Errorf("got %+v", ev)
	}
	gha := keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})
	signed := d.simpleSigned(d.leaf(identified(issuer, subject), d.ctKey), payload, minute)
	provenAt(t, attest.Verify(signed, artifact, []attest.Authority{gha}, noon().AddDate(1, 0, 0)), minute, "gha")
	// A key that has expired, and the log proves that it signed in time; so does a timestamp.
	trusted[0].Keys[0].NotAfter = noon().Add(time.Hour)
	trusted[0].Timestamps = &attest.Timestamps{Root: d.trustedRoot(nil), Threshold: 1}
	provenAt(t, attest.Verify(d.simpleSigned(plainKey(key), payload, minute), artifact, trusted, noon().AddDate(1, 0, 0)), minute, "ci")
	stamped := d.simpleSigned(plainKey(key), payload, time.Time{})
	sig, err := base64.StdEncoding.DecodeString(stamped.Layer.Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	stamped.Layer.Annotations["dev.sigstore.cosign/rfc3161timestamp"] = string(mustJSON(t, object{"SignedRFC3161Timestamp": d.stamp(d.tsa, sig, minute)}))
	provenAt(t, attest.Verify(stamped, artifact, trusted, noon().AddDate(1, 0, 0)), minute, "ci")
}

// Evidence 1, 2, 4, 9 and 10 for signatures as cosign made them before bundles.
func TestVerifySimpleSigningRefuses(t *testing.T) {
	d := newDeployment(t)
	minute := noon().Add(time.Minute)
	key := newKey(t)
	good := string(simplePayload(t, artifact.String()))
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("no %q in it", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	trusted := []attest.Authority{authority(t, "ci", key)}
	for name, tt := range map[string]struct{ payload, want string }{
		"another image":      {string(simplePayload(t, digest.FromString("other").String())), "is about " + digest.FromString("other").String()},
		"upper-case hex":     {string(simplePayload(t, "sha256:"+strings.ToUpper(artifact.Encoded()))), "must be lower-case"},
		"another algorithm":  {string(simplePayload(t, digest.SHA512.FromString("artifact").String())), "only by sha512"},
		"no digest":          {string(simplePayload(t, "latest")), "names no image"},
		"another type":       {swap("cosign container image signature", "atomic container signature"), `critical.type is "atomic container signature"`},
		"no critical":        {`{"optional":{}}`, `critical.type is ""`},
		"a second critical":  {swap("{", `{"critical":{},`), "not strict JSON"},
		"a case variant":     {swap("{", `{"Critical":{},`), "not strict JSON"},
		"a second image":     {swap(`"docker-manifest-digest"`, `"docker-manifest-digest":"x","docker-manifest-digest"`), "not strict JSON"},
		"trailing bytes":     {good + "{}", "not strict JSON"},
		"a depth bomb":       {swap(`"build":7`, `"build":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)), "nested deeper"},
		"a list":             {"[]", "not a JSON object"},
		"nothing":            {"", "not strict JSON"},
		"an in-toto payload": {string(mustJSON(t, statement())), "critical.type"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, attest.Verify(d.simpleSigned(plainKey(key), []byte(tt.payload), time.Time{}), artifact, trusted, noon()), tt.want)
		})
	}
	gha := []attest.Authority{keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})}
	leaf := d.leaf(identified(issuer, subject), d.ctKey)
	elsewhere := d.simpleSigned(leaf, simplePayload(t, digest.FromString("other").String()), minute)
	const at = "dev.sigstore.cosign/"
	for name, tt := range map[string]struct{ annotation, value, want string }{
		"no signature":               {"dev.cosignproject.cosign/signature", "", "it has no signature"},
		"no base64":                  {"dev.cosignproject.cosign/signature", "!", "is not base64"},
		"another signature":          {"dev.cosignproject.cosign/signature", "AAAA", "the key of its certificate does not verify it"},
		"too long a signature":       {"dev.cosignproject.cosign/signature", strings.Repeat("A", 2<<20), "the limit is 1048576"},
		"no certificate":             {at + "certificate", "", "it is not signed with a certificate of gha, but with a key"},
		"a certificate of nothing":   {at + "certificate", "-----BEGIN CERTIFICATE-----", "no certificate in PEM"},
		"a bare key for it":          {at + "certificate", string(pemKey(t, leaf.key.Public())), "bare public key"},
		"another certificate":        {at + "certificate", string(attest.MarshalCertificates([]*x509.Certificate{d.leaf(identified(issuer, subject), d.ctKey).Certificate})), "does not verify it"},
		"too many certificates":      {at + "chain", strings.Repeat(string(attest.MarshalCertificates([]*x509.Certificate{leaf.Certificate})), 20), "more than 16"},
		"too long a chain":           {at + "chain", strings.Repeat("\n", 2<<20), "the limit is 1048576"},
		"no log entry":               {at + "bundle", "", "it has 0 log entries"},
		"an entry of another image":  {at + "bundle", elsewhere.Layer.Annotations[at+"bundle"], "about something else"},
		"an entry that is none":      {at + "bundle", "{}", "is no log entry: it has no SignedEntryTimestamp"},
		"an entry with two payloads": {at + "bundle", `{"Payload":{},"payload":{}}`, "differ only in case"},
		"an entry without a body":    {at + "bundle", `{"SignedEntryTimestamp":"","Payload":{}}`, "it has no body"},
		"an entry without a log":     {at + "bundle", `{"SignedEntryTimestamp":"","Payload":{"body":"e30="}}`, "lacks a logID"},
		"an entry of no kind":        {at + "bundle", `{"SignedEntryTimestamp":"","Payload":{"body":"e30=","logID":"00","logIndex":1,"integratedTime":1}}`, "about something else"},
		"a timestamp of nothing":     {at + "rfc3161timestamp", "{}", "is no timestamp"},
		"a timestamp that is none":   {at + "rfc3161timestamp", "x", "not strict JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			att := d.simpleSigned(leaf, []byte(good), minute)
			att.Layer.Annotations[tt.annotation] = tt.value
			refused(t, attest.Verify(att, artifact, gha, minute), tt.want)
		})
	}
	refused(t, attest.Verify(d.simpleSigned(leaf, []byte(good), minute), artifact, []attest.Authority{authority(t, "ci", leaf.key)}, minute), "it is not signed with a key of ci")
}

// Annotations tell about one signature, so there must be one.
func TestVerifyAnnotatedEnvelopes(t *testing.T) {
	d := newDeployment(t)
	b := d.sign(d.leaf(identified(issuer, subject), d.ctKey), mustJSON(t, statement()))
	att := b.annotated(t)
	att.Content = []byte(strings.Replace(string(att.Content), `"signatures":[`, fmt.Sprintf(`"signatures":[{"sig":%q},`, "AAAA"), 1))
	gha := []attest.Authority{keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})}
	refused(t, attest.Verify(att, artifact, gha, noon()), "the envelope has 2 signatures, and annotations about one")
	broken := b.annotated(t)
	broken.Layer.Annotations["dev.sigstore.cosign/certificate"] = "-----BEGIN CERTIFICATE-----"
	refused(t, attest.Verify(broken, artifact, gha, noon()), "is no certificate in PEM")
	refused(t, attest.Verify(b.annotated(t), artifact, []attest.Authority{authority(t, "ci", b.signer.key)}, noon()), "it is not signed with a key of ci")
}

// What cosign v3.1.3 itself has written, with a key and with a certificate of one's own.
func TestVerifyCosignSignatures(t *testing.T) {
	key, err := attest.ParsePublicKey(testdata(t, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := attest.ParseCertificates(testdata(t, "cosign-ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ci := attest.Authority{Name: "ci", Keys: []attest.Key{key}}
	corp := ownCA(t, attest.X509Config{Roots: roots, Emails: exactly("release@example.com")})
	layer := func(name string) attest.Attachment {
		att := attest.Attachment{Format: attest.FormatCosignSig, Content: testdata(t, name+"-payload.json")}
		if err := json.Unmarshal(testdata(t, name+"-annotations.json"), &att.Layer.Annotations); err != nil {
			t.Fatal(err)
		}
		return att
	}
	now := noon().AddDate(0, 0, 7)
	for _, tt := range []struct {
		name string
		att  attest.Attachment
		by   string
	}{
		{"key", layer("cosign-sig"), "ci"},
		{"certificate", layer("cosign-sig-cert"), "corp"},
		{"certificate, v0.3 with a chain", asBundle(testdata(t, "cosign-bundle-certificate.json")), "corp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ev := attest.Verify(tt.att, artifact, []attest.Authority{ci, corp}, now)
			verified(t, ev, tt.by)
			if ev.PredicateType != attest.PredicateTypeSign {
				t.Errorf("got %+v", ev)
			}
			refused(t, attest.Verify(tt.att, digest.FromString("other"), []attest.Authority{ci, corp}, now), "is about "+artifact.String())
		})
	}
}
