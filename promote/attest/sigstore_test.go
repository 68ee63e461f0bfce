package attest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/digitorus/timestamp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/rekor/pkg/pki"
	"github.com/sigstore/rekor/pkg/types"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"

	"sluice.dev/sluice/promote/attest"
)

const (
	issuer  = "https://token.actions.githubusercontent.com"
	subject = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

// deployment is a Sigstore of one's own: an authority for certificates, a log, a log of
// certificates and a timestamp authority, all of them real but for the network. The log is
// sigstore-go's, the rest stands here so that its time can be set.
type deployment struct {
	t                testing.TB
	rootCA, issuing  *authorityCA
	tsaCA, tsa       *authorityCA
	log, log2, other *ca.VirtualSigstore
	ctKey, ctKey2    crypto.Signer
	records          int64
}

// authorityCA is a certificate with its key.
type authorityCA struct {
	*x509.Certificate
	key crypto.Signer
}

func newDeployment(t testing.TB) *deployment {
	t.Helper()
	d := &deployment{t: t, ctKey: newKey(t), ctKey2: newKey(t)}
	for _, log := range []**ca.VirtualSigstore{&d.log, &d.log2, &d.other} {
		var err error
		if *log, err = ca.NewVirtualSigstore(); err != nil {
			t.Fatal(err)
		}
	}
	d.rootCA = newCA(t, "root", nil)
	d.issuing = newCA(t, "issuing", d.rootCA)
	d.tsaCA = newCA(t, "stamps", nil)
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		t.Fatal(err)
	}
	d.tsa = issue(t, d.tsaCA, newKey(t), func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = noon().AddDate(-1, 0, 0), noon().AddDate(10, 0, 0)
		c.ExtKeyUsage = nil
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}
	})
	return d
}

func newCA(t testing.TB, name string, parent *authorityCA) *authorityCA {
	t.Helper()
	return issue(t, parent, newKey(t), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: name, Organization: []string{"acme"}}
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		c.NotBefore, c.NotAfter = noon().AddDate(-1, 0, 0), noon().AddDate(10, 0, 0)
	})
}

// issue makes a certificate for code signing that is valid for ten minutes from noon on,
// but for what change says. Without a parent it is self-signed.
func issue(t testing.TB, parent *authorityCA, key crypto.Signer, change func(*x509.Certificate)) *authorityCA {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: noon(), NotAfter: noon().Add(10 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	change(template)
	if parent == nil {
		parent = &authorityCA{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authorityCA{certificate, key}
}

// identified sets whom a keyless certificate is of.
func identified(oidcIssuer, san string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		if u, err := url.Parse(san); err == nil && u.Scheme != "" {
			c.URIs = []*url.URL{u}
		} else {
			c.EmailAddresses = []string{san}
		}
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte(oidcIssuer)})
	}
}

// leaf issues a keyless certificate with a signed certificate timestamp of each log.
func (d *deployment) leaf(change func(*x509.Certificate), ctLogs ...crypto.Signer) *authorityCA {
	key := newKey(d.t)
	bare := issue(d.t, d.issuing, key, change)
	if len(ctLogs) == 0 {
		return bare
	}
	var list []byte
	for _, log := range ctLogs {
		sct := d.sct(log, bare.RawTBSCertificate)
		list = append(binary.BigEndian.AppendUint16(list, uint16(len(sct))), sct...)
	}
	value, err := asn1.Marshal(append(binary.BigEndian.AppendUint16(nil, uint16(len(list))), list...))
	if err != nil {
		d.t.Fatal(err)
	}
	return issue(d.t, d.issuing, key, func(c *x509.Certificate) {
		change(c)
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}, Value: value})
	})
}

// sct is a certificate log's promise (RFC 6962, 3.2) about a certificate before it was put in.
func (d *deployment) sct(log crypto.Signer, tbs []byte) []byte {
	at := binary.BigEndian.AppendUint64(nil, uint64(noon().UnixMilli()))
	issuerKey := sha256.Sum256(d.issuing.RawSubjectPublicKeyInfo)
	signed := append([]byte{0, 0}, at...)
	signed = append(append(signed, 0, 1), issuerKey[:]...)
	signed = append(signed, byte(len(tbs)>>16), byte(len(tbs)>>8), byte(len(tbs)))
	signed = append(append(signed, tbs...), 0, 0)
	id := keyID(d.t, log.Public())
	sig := signSHA256(d.t, log, signed)
	out := append(append([]byte{0}, id...), at...)
	out = append(out, 0, 0, 4, 3)
	return append(binary.BigEndian.AppendUint16(out, uint16(len(sig))), sig...)
}

func signSHA256(t testing.TB, key crypto.Signer, message []byte) []byte {
	t.Helper()
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func keyID(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	return sum[:]
}

func pemKey(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// stamp is a timestamp of the deployment's authority over message.
func (d *deployment) stamp(tsa *authorityCA, message []byte, at time.Time) []byte {
	request, err := timestamp.CreateRequest(bytes.NewReader(message), &timestamp.RequestOptions{Hash: crypto.SHA256})
	if err != nil {
		d.t.Fatal(err)
	}
	parsed, err := timestamp.ParseRequest(request)
	if err != nil {
		d.t.Fatal(err)
	}
	response, err := (&timestamp.Timestamp{
		HashAlgorithm: parsed.HashAlgorithm, HashedMessage: parsed.HashedMessage, Time: at,
		Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true,
	}).CreateResponseWithOpts(tsa.Certificate, tsa.key, crypto.SHA256)
	if err != nil {
		d.t.Fatal(err)
	}
	return response
}

// logged is an entry of a log, in the form that bundles have, and in cosign's.
type logged struct {
	kind, version string
	body, id, set []byte
	proof         object
	at, index     int64
}

// record has the log take an artifact up: a DSSE envelope or what a signature is over.
func (d *deployment) record(log *ca.VirtualSigstore, kind string, verifier, artifact, sig []byte, at time.Time) logged {
	props := types.ArtifactProperties{PublicKeyBytes: [][]byte{verifier}, PKIFormat: string(pki.X509), ArtifactBytes: artifact}
	if kind == "hashedrekord" {
		sum := sha256.Sum256(artifact)
		props.ArtifactBytes, props.ArtifactHash, props.SignatureBytes = nil, hex.EncodeToString(sum[:]), sig
	}
	proposed, err := types.NewProposedEntry(context.Background(), kind, "0.0.1", props)
	if err != nil {
		d.t.Fatal(err)
	}
	created, err := types.CreateVersionedEntry(proposed)
	if err != nil {
		d.t.Fatal(err)
	}
	body, err := types.CanonicalizeEntry(context.Background(), created)
	if err != nil {
		d.t.Fatal(err)
	}
	id, err := log.RekorLogID()
	if err != nil {
		d.t.Fatal(err)
	}
	raw, err := hex.DecodeString(id)
	if err != nil {
		d.t.Fatal(err)
	}
	d.records++
	l := logged{kind: kind, version: "0.0.1", body: body, id: raw, at: at.Unix(), index: d.records}
	if l.set, err = log.RekorSignPayload(tlog.RekorPayload{Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: l.at, LogIndex: l.index, LogID: id}); err != nil {
		d.t.Fatal(err)
	}
	proof, err := log.GetInclusionProof(body)
	if err != nil {
		d.t.Fatal(err)
	}
	rootHash, err := hex.DecodeString(*proof.RootHash)
	if err != nil {
		d.t.Fatal(err)
	}
	l.proof = object{"logIndex": "0", "rootHash": rootHash, "treeSize": "1", "hashes": []any{}, "checkpoint": object{"envelope": *proof.Checkpoint}}
	return l
}

func (l logged) entry() object {
	return object{
		"logIndex": l.index, "logId": object{"keyId": l.id}, "kindVersion": object{"kind": l.kind, "version": l.version},
		"integratedTime": l.at, "inclusionPromise": object{"signedEntryTimestamp": l.set}, "inclusionProof": l.proof, "canonicalizedBody": l.body,
	}
}

func (l logged) annotation(t testing.TB) string {
	return string(mustJSON(t, object{"SignedEntryTimestamp": l.set, "Payload": object{
		"body": l.body, "integratedTime": l.at, "logIndex": l.index, "logID": hex.EncodeToString(l.id),
	}}))
}

// trustedRoot is what a verifier pins. Parts of it can be left out or replaced.
func (d *deployment) trustedRoot(change func(*parts)) *attest.TrustedRoot {
	d.t.Helper()
	from, to := noon().AddDate(-1, 0, 0), noon().AddDate(5, 0, 0)
	p := parts{
		authorities: []root.CertificateAuthority{&root.FulcioCertificateAuthority{
			Root: d.rootCA.Certificate, Intermediates: []*x509.Certificate{d.issuing.Certificate}, ValidityPeriodStart: from, URI: "https://fulcio.example.com"}},
		stamps: []root.TimestampingAuthority{&root.SigstoreTimestampingAuthority{
			Root: d.tsaCA.Certificate, Leaf: d.tsa.Certificate, ValidityPeriodStart: from, URI: "https://tsa.example.com"}},
		logs: map[string]*root.TransparencyLog{}, ctLogs: map[string]*root.TransparencyLog{},
	}
	add := func(logs map[string]*root.TransparencyLog, url string, key crypto.PublicKey) {
		id := keyID(d.t, key)
		logs[hex.EncodeToString(id)] = &root.TransparencyLog{BaseURL: url, ID: id, ValidityPeriodStart: from, ValidityPeriodEnd: to,
			HashFunc: crypto.SHA256, PublicKey: key, SignatureHashFunc: crypto.SHA256}
	}
	for _, log := range []*ca.VirtualSigstore{d.log, d.log2} {
		for _, l := range log.RekorLogs() {
			add(p.logs, "https://rekor.localhost", l.PublicKey)
		}
	}
	add(p.ctLogs, "https://ct.example.com", d.ctKey.Public())
	add(p.ctLogs, "https://ct2.example.com", d.ctKey2.Public())
	if change != nil {
		change(&p)
	}
	tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, p.authorities, p.ctLogs, p.stamps, p.logs)
	if err != nil {
		d.t.Fatal(err)
	}
	text, err := tr.MarshalJSON()
	if err != nil {
		d.t.Fatal(err)
	}
	parsed, err := attest.ParseTrustedRoot(text)
	if err != nil {
		d.t.Fatal(err)
	}
	return parsed
}

type parts struct {
	authorities  []root.CertificateAuthority
	stamps       []root.TimestampingAuthority
	logs, ctLogs map[string]*root.TransparencyLog
}

// signedBundle is a bundle in the making: change what is wrong with it, then build.
type signedBundle struct {
	version string
	signer  *authorityCA // or only its key
	payload []byte
	sig     []byte
	chain   []*authorityCA // makes the material a chain
	entries []logged
	stamps  [][]byte
}

// sign makes a keyless bundle that is as it should be.
func (d *deployment) sign(signer *authorityCA, payload []byte) *signedBundle {
	b := &signedBundle{version: attest.MediaTypeBundle, signer: signer, payload: payload, sig: rawSign(d.t, signer.key, attest.PayloadType, payload)}
	b.entries = []logged{d.recordBundle(d.log, b, noon().Add(time.Minute))}
	return b
}

func (d *deployment) recordBundle(log *ca.VirtualSigstore, b *signedBundle, at time.Time) logged {
	verifier := pemKey(d.t, b.signer.key.Public())
	if b.signer.Certificate != nil {
		verifier = attest.MarshalCertificates([]*x509.Certificate{b.signer.Certificate})
	}
	return d.record(log, "dsse", verifier, b.envelope(d.t), b.sig, at)
}

func (b *signedBundle) envelope(t testing.TB) []byte {
	return mustJSON(t, dsse.Envelope{PayloadType: attest.PayloadType, Payload: base64.StdEncoding.EncodeToString(b.payload),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(b.sig)}}})
}

// object is the bundle, to be spoilt.
func (b *signedBundle) object() object {
	material := object{}
	switch {
	case b.signer.Certificate == nil:
		material["publicKey"] = object{"hint": ""}
	case len(b.chain) > 0 || b.version == "application/vnd.dev.sigstore.bundle+json;version=0.1":
		chain := []any{object{"rawBytes": b.signer.Raw}}
		for _, c := range b.chain {
			chain = append(chain, object{"rawBytes": c.Raw})
		}
		material["x509CertificateChain"] = object{"certificates": chain}
	default:
		material["certificate"] = object{"rawBytes": b.signer.Raw}
	}
	var entries, stamps []any
	for _, e := range b.entries {
		entries = append(entries, e.entry())
	}
	for _, s := range b.stamps {
		stamps = append(stamps, object{"signedTimestamp": s})
	}
	material["tlogEntries"], material["timestampVerificationData"] = entries, object{"rfc3161Timestamps": stamps}
	return object{
		"mediaType": b.version, "verificationMaterial": material,
		"dsseEnvelope": object{"payload": b.payload, "payloadType": attest.PayloadType, "signatures": []any{object{"sig": b.sig}}},
	}
}

func (b *signedBundle) attachment(t testing.TB) attest.Attachment {
	return asBundle(mustJSON(t, b.object()))
}

// annotated is the same as a layer of cosign's .att tag.
func (b *signedBundle) annotated(t testing.TB) attest.Attachment {
	att := attest.Attachment{Format: attest.FormatCosignAtt, Content: b.envelope(t)}
	att.Layer.Annotations = b.annotations(t)
	return att
}

func (b *signedBundle) annotations(t testing.TB) map[string]string {
	out := map[string]string{}
	if b.signer.Certificate != nil {
		out["dev.sigstore.cosign/certificate"] = string(attest.MarshalCertificates([]*x509.Certificate{b.signer.Certificate}))
	}
	for _, c := range b.chain {
		out["dev.sigstore.cosign/chain"] += string(attest.MarshalCertificates([]*x509.Certificate{c.Certificate}))
	}
	for _, e := range b.entries {
		out["dev.sigstore.cosign/bundle"] = e.annotation(t)
	}
	for _, s := range b.stamps {
		out["dev.sigstore.cosign/rfc3161timestamp"] = string(mustJSON(t, object{"SignedRFC3161Timestamp": s}))
	}
	return out
}

// simpleSigned is a cosign signature of the artifact, as a layer of the .sig tag.
func (d *deployment) simpleSigned(signer *authorityCA, payload []byte, at time.Time) attest.Attachment {
	b := &signedBundle{signer: signer, payload: payload, sig: signSHA256(d.t, signer.key, payload)}
	if !at.IsZero() {
		verifier := pemKey(d.t, signer.key.Public())
		if signer.Certificate != nil {
			verifier = attest.MarshalCertificates([]*x509.Certificate{signer.Certificate})
		}
		b.entries = []logged{d.record(d.log, "hashedrekord", verifier, payload, b.sig, at)}
	}
	att := attest.Attachment{Format: attest.FormatCosignSig, Content: payload}
	att.Layer.Annotations = b.annotations(d.t)
	att.Layer.Annotations["dev.cosignproject.cosign/signature"] = base64.StdEncoding.EncodeToString(b.sig)
	return att
}

// keyless trusts the deployment's identities.
func keyless(t testing.TB, config attest.KeylessConfig) attest.Authority {
	t.Helper()
	if config.Issuer.String() == "" {
		config.Issuer = attest.Exactly(issuer)
	}
	if config.Subject.String() == "" {
		config.Subject = attest.Exactly(subject)
	}
	k, err := attest.NewKeyless(config)
	if err != nil {
		t.Fatal(err)
	}
	return attest.Authority{Name: "gha", Principal: "acme-ci", Keyless: k}
}

func (d *deployment) roots() []*x509.Certificate { return []*x509.Certificate{d.rootCA.Certificate} }

func (d *deployment) intermediates() []*x509.Certificate {
	return []*x509.Certificate{d.issuing.Certificate}
}

func plainKey(key crypto.Signer) *authorityCA { return &authorityCA{key: key} }
