package policy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protodsse "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	sigstoreroot "github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"google.golang.org/protobuf/encoding/protojson"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

const issuer = "https://token.actions.githubusercontent.com"

// rootOf is the trusted root of a Sigstore, in JSON.
func rootOf(t testing.TB, s *ca.VirtualSigstore) []byte {
	t.Helper()
	named := func(logs map[string]*sigstoreroot.TransparencyLog) map[string]*sigstoreroot.TransparencyLog {
		for id, log := range logs { // sigstore-go's has the hex for the id itself
			raw, err := hex.DecodeString(id)
			if err != nil {
				t.Fatal(err)
			}
			log.ID = raw
		}
		return logs
	}
	tr, err := sigstoreroot.NewTrustedRoot(sigstoreroot.TrustedRootMediaType01, s.FulcioCertificateAuthorities(), named(s.CTLogs()), s.TimestampingAuthorities(), named(s.RekorLogs()))
	if err != nil {
		t.Fatal(err)
	}
	text, err := tr.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newSigstore(t testing.TB) *ca.VirtualSigstore {
	t.Helper()
	s, err := ca.NewVirtualSigstore()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// certificate is a self-signed one in PEM.
func certificate(t testing.TB, isCA bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "acme"}, NotAfter: noon.AddDate(1, 0, 0), IsCA: isCA, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// trusting is a keyring with a trusted root and certificates.
func trusting(t testing.TB) keyring {
	t.Helper()
	files := newKeyring(t, "a", "b", "c")
	files["root.json"] = rootOf(t, newSigstore(t))
	files["ca.pem"], files["leaf.pem"] = certificate(t, true), certificate(t, false)
	return files
}

// by is the document with authority b replaced.
func by(authority string) string {
	return strings.Replace(document(plainRule), "{name: b, key: {file: b.pub}}", "{name: b, "+authority+"}", 1)
}

func TestLoadTrust(t *testing.T) {
	files := trusting(t)
	for name, authority := range map[string]string{
		"keyless, exact":       `keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subject: "https://s"}`,
		"keyless, expressions": `keyless: {trustedRoot: {file: root.json}, issuerRegExp: "^https://i$", subjectRegExp: "^https://(a|b)/.*$", logEntries: 0, timestamps: 1, signedCertificateTimestamps: 0}`,
		"x509":                 `x509: {roots: {file: ca.pem}, emails: [release@example.com], uriRegExp: "^spiffe://acme/.*$", intermediates: {file: ca.pem}}`,
		"x509, subject":        `x509: {roots: {file: ca.pem}, subject: "CN=Release,O=acme", extendedKeyUsage: emailProtection, timestamps: {roots: {file: ca.pem}}}`,
		"key with timestamps":  `key: {file: b.pub}, notAfter: 2027-01-01T00:00:00Z, timestamps: {trustedRoot: {file: root.json}, threshold: 2}`,
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, files, by(authority))
			again, err := Load(p.Canonical(), nil)
			if err != nil || again.Digest() != p.Digest() || !bytes.Equal(again.Canonical(), p.Canonical()) {
				t.Fatalf("canonical form moved: %v\n%s", err, p.Canonical())
			}
			if strings.Contains(string(p.Canonical()), `"file"`) {
				t.Errorf("a file is not inlined:\n%s", p.Canonical())
			}
			a := p.Authorities()[1]
			kinds := []bool{len(a.Keys) == 1, a.Keyless != nil, a.X509 != nil}
			if want := []bool{strings.HasPrefix(name, "key "), strings.HasPrefix(name, "keyless"), strings.HasPrefix(name, "x509")}; !slices.Equal(kinds, want) {
				t.Errorf("got %+v", a)
			}
		})
	}
	// Defaults, and that they and the trust are in the digest.
	p := load(t, files, by(`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subject: "https://s"}`))
	if k := p.Document().Spec.Authorities[1].Keyless; k.LogEntries != 1 || k.Timestamps != 0 || k.SignedCertificateTimestamps != 1 {
		t.Errorf("got %+v", k)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, files["root.json"], "", "\t"); err != nil {
		t.Fatal(err)
	}
	before := files["root.json"]
	files["root.json"] = indented.Bytes()
	if got := load(t, files, by(`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subject: "https://s"}`)); got.Digest() != p.Digest() {
		t.Error("white space in a trusted root changed the digest")
	}
	files["root.json"] = rootOf(t, newSigstore(t))
	if got := load(t, files, by(`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subject: "https://s"}`)); got.Digest() == p.Digest() {
		t.Error("another trusted root has the same digest")
	}
	files["root.json"] = before
}

// Evidence 22 for trust.
func TestLoadTrustRefuses(t *testing.T) {
	files := trusting(t)
	files["empty.json"], files["large.json"], files["large.pem"] = nil, bytes.Repeat([]byte(" "), 300<<10), bytes.Repeat([]byte(" "), 300<<10)
	files["odd.json"] = bytes.Replace(files["root.json"], []byte("https://rekor.localhost"), []byte("https://rekor.local\u00a0host"), 1)
	files["bare.json"] = []byte(`{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)
	const at = "line 9: spec.authorities[1]"
	who := `issuer: "https://i", subject: "https://s"`
	for name, tt := range map[string]struct{ authority, want string }{
		"no trusted root":              {"keyless: {" + who + "}", at + ".keyless.trustedRoot: is missing: name the file of a Sigstore trusted root, or its json"},
		"no file":                      {"keyless: {trustedRoot: {file: x.json}, " + who + "}", at + `.keyless.trustedRoot.file: read "x.json"`},
		"empty file":                   {"keyless: {trustedRoot: {file: empty.json}, " + who + "}", ".file: is empty"},
		"too large a root":             {"keyless: {trustedRoot: {file: large.json}, " + who + "}", "has 307200 bytes, at most 262144 are allowed"},
		"no root":                      {"keyless: {trustedRoot: {file: a.pub}, " + who + "}", "is no Sigstore trusted root"},
		"a root that does not print":   {"keyless: {trustedRoot: {file: odd.json}, " + who + "}", "does not print"},
		"a root without a CA":          {"keyless: {trustedRoot: {file: bare.json}, " + who + "}", at + ".keyless: the trusted root has no certificate authority"},
		"file and json":                {`keyless: {trustedRoot: {file: root.json, json: "{}"}, ` + who + "}", "names a file and a json"},
		"no issuer":                    {`keyless: {trustedRoot: {file: root.json}, subject: "https://s"}`, ".keyless.issuer: is missing: give it, or issuerRegExp"},
		"no subject":                   {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i"}`, ".keyless.subject: is missing: give it, or subjectRegExp"},
		"both":                         {"keyless: {trustedRoot: {file: root.json}, issuerRegExp: '^i$', " + who + "}", "is there beside issuerRegExp"},
		"unanchored":                   {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subjectRegExp: "https://github.com/acme/.*"}`, `.subjectRegExp: "https://github.com/acme/.*" is not anchored`},
		"anchored on one side":         {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subjectRegExp: "^https://github.com/acme/"}`, "is not anchored"},
		"unanchored by an alternative": {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subjectRegExp: "^a|b$"}`, "is not anchored"},
		"unanchored issuer":            {`keyless: {trustedRoot: {file: root.json}, issuerRegExp: "i", subject: "https://s"}`, ".issuerRegExp"},
		"no expression":                {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subjectRegExp: "^($"}`, "is no regular expression"},
		"too long an expression":       {`keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subjectRegExp: "^` + strings.Repeat("a", 2000) + `$"}`, "at most 1024"},
		"nothing proves a time":        {"keyless: {trustedRoot: {file: root.json}, logEntries: 0, " + who + "}", ".keyless: a log entry or a timestamp has to be required"},
		"more logs than there are":     {"keyless: {trustedRoot: {file: root.json}, logEntries: 2, " + who + "}", "2 log entries are required, and the trusted root has 1 logs"},
		"more SCTs than there are":     {"keyless: {trustedRoot: {file: root.json}, signedCertificateTimestamps: 2, " + who + "}", "certificate logs"},
		"negative":                     {"keyless: {trustedRoot: {file: root.json}, timestamps: -1, " + who + "}", "must not be negative"},
		"unknown key":                  {"keyless: {trustedRoot: {file: root.json}, ctlog: 1, " + who + "}", `unknown key "ctlog"`},
		"keyless is nothing":           {"keyless: ~", "is empty"},
		"two kinds":                    {"key: {file: b.pub}, x509: {roots: {file: ca.pem}, emails: [a@b.c]}", at + ": has key and x509: an authority signs in one way"},
		"window of a certificate":      {"notAfter: 2027-01-01T00:00:00Z, x509: {roots: {file: ca.pem}, emails: [a@b.c]}", ".notAfter: is for a key"},
		"timestamps beside keyless":    {"timestamps: {trustedRoot: {file: root.json}}, keyless: {trustedRoot: {file: root.json}, " + who + "}", ".timestamps: is for a key"},
		"no roots":                     {"x509: {emails: [a@b.c]}", ".x509.roots: is missing: name the file of certificates, or its pem"},
		"too large roots":              {"x509: {roots: {file: large.pem}, emails: [a@b.c]}", "at most 262144"},
		"roots that are no CA":         {"x509: {roots: {file: leaf.pem}, emails: [a@b.c]}", `.x509: the certificate of "CN=acme" is not a CA's`},
		"roots that are keys":          {"x509: {roots: {file: a.pub}, emails: [a@b.c]}", "has no certificates in PEM"},
		"nobody":                       {"x509: {roots: {file: ca.pem}}", "somebody has to be named"},
		"no emails":                    {"x509: {roots: {file: ca.pem}, emails: []}", ".x509.emails: is empty"},
		"an email twice":               {"x509: {roots: {file: ca.pem}, emails: [a@b.c, a@b.c]}", "emails[1]: \"a@b.c\" stands there twice"},
		"unanchored email":             {"x509: {roots: {file: ca.pem}, emailRegExp: '.*@example.com'}", "is not anchored"},
		"subject twice":                {"x509: {roots: {file: ca.pem}, subject: CN=a, subjectRegExp: '^CN=a$'}", "is there beside subjectRegExp"},
		"usage":                        {"x509: {roots: {file: ca.pem}, emails: [a@b.c], extendedKeyUsage: any}", `extendedKeyUsage: is "any", want clientAuth, codeSigning, emailProtection`},
		"timestamps of nothing":        {"key: {file: b.pub}, timestamps: {threshold: 1}", ".timestamps: wants a trustedRoot, or roots"},
		"timestamps of two":            {"key: {file: b.pub}, timestamps: {trustedRoot: {file: root.json}, roots: {file: ca.pem}}", "wants a trustedRoot, or roots"},
		"threshold zero":               {"key: {file: b.pub}, timestamps: {trustedRoot: {file: root.json}, threshold: 0}", ".timestamps.threshold: is 0"},
		"threshold out of reach":       {"key: {file: b.pub}, timestamps: {trustedRoot: {file: root.json}, threshold: 3}", "there are 1 logs and 1 timestamp authorities"},
		"a root without witnesses":     {"key: {file: b.pub}, timestamps: {trustedRoot: {file: bare.json}}", "there are 0 logs and 0 timestamp authorities"},
		"TSA roots that are no CA":     {"key: {file: b.pub}, timestamps: {roots: {file: leaf.pem}}", ".timestamps.roots: the certificate of"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Load([]byte(by(tt.authority)), files.read)
			if p != nil {
				t.Error("a policy beside the error")
			}
			if err := wants(err, oci.ErrPolicyInvalid, tt.want); err != nil {
				t.Error(err)
			}
		})
	}
	// What is small in a file may be large when it is inlined often.
	var many strings.Builder
	for i := range 90 {
		many.WriteString("    - {name: k" + strings.Repeat("x", i%40) + string(rune('a'+i/40)) + ", keyless: {trustedRoot: {file: wide.json}, " + who + "}}\n")
	}
	var wide map[string]any
	if err := json.Unmarshal(files["root.json"], &wide); err != nil {
		t.Fatal(err)
	}
	wide["tlogs"].([]any)[0].(map[string]any)["baseUrl"] = "https://" + strings.Repeat("x", 20_000)
	var err error
	if files["wide.json"], err = json.Marshal(wide); err != nil {
		t.Fatal(err)
	}
	_, err = Load([]byte(strings.Replace(document(plainRule), "  require:", many.String()+"  require:", 1)), files.read)
	if err := wants(err, oci.ErrPolicyInvalid, "bytes with its keys and roots inlined, at most 1048576"); err != nil {
		t.Error(err)
	}
}

// Evidence 6: an identity under two names counts once, and the policy says so.
func TestIdentityWarnings(t *testing.T) {
	files := trusting(t)
	const exact = `keyless: {trustedRoot: {file: root.json}, issuer: "https://i", subject: "https://s"}`
	text := strings.Replace(by(exact), "{name: c, principal: b, key: {file: c.pub}}", "{name: c, "+exact+"}", 1)
	p := load(t, files, strings.Replace(text, "[a]", "[b, c], threshold: 2", 1))
	warnings := strings.Join(p.Warnings(), "\n")
	for _, want := range []string{"b and c have one identity", "threshold: is 2 and can never be met"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("%q lacks %q", warnings, want)
		}
	}
	// Others may turn out to be different people.
	open := strings.Replace(exact, `subject: "https://s"`, `subjectRegExp: "^https://.*$"`, 1)
	p = load(t, files, strings.Replace(strings.ReplaceAll(text, exact, open), "[a]", "[b, c], threshold: 2", 1))
	if len(p.Warnings()) != 1 { // a and d, of the document
		t.Errorf("got %q", p.Warnings())
	}
}

// A keyless attestation satisfies a rule of a policy that was read from YAML.
func TestKeylessPolicy(t *testing.T) {
	files := trusting(t)
	s := newSigstore(t)
	files["root.json"] = rootOf(t, s)
	const who = "release@example.com"
	artifact := digest.FromString("root")
	statement := []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + artifact.Encoded() + `"}}],"predicateType":"` + typeProvenance + `","predicate":{}}`)
	entity, err := s.AttestAtTime(who, issuer, statement, time.Now().Add(5*time.Minute), true)
	if err != nil {
		t.Fatal(err)
	}
	att := attest.Attachment{Format: attest.FormatBundle, Content: bundleOf(t, entity, statement)}
	text := by(`keyless: {trustedRoot: {file: root.json}, issuer: "` + issuer + `", subject: ` + who + `, signedCertificateTimestamps: 0}`)
	p := load(t, files, strings.Replace(text, "[a]}", "[b]}, maxAge: 24h", 1))
	for now, want := range map[time.Time]bool{time.Now().Add(time.Hour): true, time.Now().Add(48 * time.Hour): false} {
		f := scene{t, files}.facts(attest.Verify(att, artifact, p.Authorities(), now))
		f.Now = now
		message := "by b"
		if !want {
			message = "maxAge is 24h0m0s"
		}
		decided(t, p.Evaluate(f), want, message)
	}
	other := load(t, files, strings.Replace(strings.Replace(text, who, "other@example.com", 1), "[a]", "[b]", 1))
	decided(t, other.Evaluate(scene{t, files}.facts(attest.Verify(att, artifact, other.Authorities(), noon))), false,
		`no authority signed it: b is not proven to have signed it: the certificate is of "release@example.com"; it must be of "other@example.com"; it is not signed with a key of a, c, d`)
}

// bundleOf writes what sigstore-go made as a bundle.
func bundleOf(t *testing.T, entity *ca.TestEntity, payload []byte) []byte {
	t.Helper()
	content, err := entity.VerificationContent()
	if err != nil {
		t.Fatal(err)
	}
	sig, err := entity.SignatureContent()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := entity.TlogEntries()
	if err != nil {
		t.Fatal(err)
	}
	stamps, err := entity.Timestamps()
	if err != nil {
		t.Fatal(err)
	}
	material := &protobundle.VerificationMaterial{Content: &protobundle.VerificationMaterial_Certificate{
		Certificate: &protocommon.X509Certificate{RawBytes: content.Certificate().Raw}}}
	for _, e := range entries {
		entry := e.TransparencyLogEntry()
		entry.KindVersion = &protorekor.KindVersion{Kind: "dsse", Version: "0.0.1"} // left out by sigstore-go's
		material.TlogEntries = append(material.TlogEntries, entry)
	}
	// The log's time is in a promise, which sigstore-go's leaves out too.
	material.TimestampVerificationData = &protobundle.TimestampVerificationData{Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: stamps[0]}}}
	text, err := protojson.Marshal(&protobundle.Bundle{
		MediaType: attest.MediaTypeBundle, VerificationMaterial: material,
		Content: &protobundle.Bundle_DsseEnvelope{DsseEnvelope: &protodsse.Envelope{
			Payload: payload, PayloadType: attest.PayloadType, Signatures: []*protodsse.Signature{{Sig: sig.Signature()}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}
