package attest_test

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

func notaryFormats() []attest.Format {
	return []attest.Format{attest.FormatNotaryJWS, attest.FormatNotaryCOSE}
}

func TestNotaryKinds(t *testing.T) {
	p := newPKI(t)
	keys := map[string]crypto.Signer{
		"P-256": newKey(t), "P-384": newECDSA(t, elliptic.P384()), "P-521": newECDSA(t, elliptic.P521()),
		"RSA 2048": newRSA(t, 2048), "RSA 3072": newRSA(t, 3072),
	}
	ids := map[string]bool{}
	for name, key := range keys {
		for _, format := range notaryFormats() {
			att := notarySign(t, format, newLeaf(t, p.ca, "release", key))
			att.Target = known(ocispec.MediaTypeImageManifest, 123)
			ev := attest.Verify(att, artifact, trusting(p.trust), noon())
			verified(t, ev, "release-signers")
			ids[ev.Signers[0].KeyID] = true
			want := object{
				"_type": attest.StatementV1, "predicateType": attest.PredicateNotary,
				"subject": []any{object{"digest": object{"sha256": artifact.Encoded()}}},
				"predicate": object{
					"targetArtifact": object{
						"mediaType": ocispec.MediaTypeImageManifest, "digest": artifact.String(), "size": int64(123),
						"annotations": object{"build": "17"},
					},
					"signature": object{"scheme": "notary.x509", "signingTime": "2026-11-22T11:00:00Z"},
				},
			}
			if !reflect.DeepEqual(ev.Statement, want) || ev.PredicateType != attest.PredicateNotary {
				t.Errorf("%s, %s: got %v", name, format, ev.Statement)
			}
		}
	}
	if len(ids) != 1 {
		t.Errorf("one subject under one root has the ids %v", ids)
	}
}

// The identity counts once, whoever looks at it, and another subject or root is another.
func TestNotarySignerIDs(t *testing.T) {
	p, q := newPKI(t), newPKI(t)
	other := newNotaryCA(t, "another ca", &p.root)
	viaCA := p.with(func(n *attest.Notary) { n.CAs = p.ca.chain[:1] })
	id := func(signer certified, trust *attest.Notary) string {
		t.Helper()
		ev := attest.Verify(notarySign(t, attest.FormatNotaryJWS, signer), artifact, trusting(trust), noon())
		verified(t, ev, "release-signers")
		return ev.Signers[0].KeyID
	}
	base := id(p.ec, p.trust)
	if got := id(p.ec, viaCA); got != base {
		t.Error("the id depends on which CA of the chain is trusted")
	}
	if got := id(newLeaf(t, other, "release", newKey(t)), p.trust); got != base {
		t.Error("the id depends on the intermediate CA")
	}
	anyone := p.with(func(n *attest.Notary) { n.Identities = identities(t, "*") })
	if got := id(newLeaf(t, p.ca, "someone", newKey(t)), anyone); got == base {
		t.Error("two subjects have one id")
	}
	if got := id(q.ec, q.trust); got == base {
		t.Error("the subject of another root has the same id")
	}
	both := attest.Verify(notarySign(t, attest.FormatNotaryCOSE, newLeaf(t, p.ca, "release", newKey(t))), artifact, trusting(p.trust, q.trust, viaCA), noon())
	verified(t, both, "release-signers", "release-signers-c")
	if both.Signers[0].KeyID != base || both.Signers[1].KeyID != base {
		t.Errorf("got %+v", both.Signers)
	}
}

// notaryCase is a signature that must not count. Both formats are tried.
type notaryCase struct {
	name   string
	trust  *attest.Notary // nil: that of the PKI
	signer *certified     // nil: that of the PKI
	sign   func(*signRequest)
	att    func(attest.Attachment) attest.Attachment
	now    time.Time // zero: noon
	want   string    // empty: it counts after all
}

func refuseNotary(t *testing.T, p *notaryPKI, tests []notaryCase) {
	t.Helper()
	for _, tt := range tests {
		for _, format := range notaryFormats() {
			t.Run(tt.name+"/"+string(format), func(t *testing.T) {
				signer, trust, now := p.ec, p.trust, noon()
				if tt.signer != nil {
					signer = *tt.signer
				}
				if tt.trust != nil {
					trust = tt.trust
				}
				if !tt.now.IsZero() {
					now = tt.now
				}
				var changes []func(*signRequest)
				if tt.sign != nil {
					changes = append(changes, tt.sign)
				}
				att := notarySign(t, format, signer, changes...)
				if tt.att != nil {
					att = tt.att(att)
				}
				ev := attest.Verify(att, artifact, trusting(trust), now)
				if tt.want != "" {
					refused(t, ev, tt.want)
					return
				}
				if !ev.Verified() {
					t.Errorf("refused: %s", ev.Problem)
				}
			})
		}
	}
}

func targetWith(key string, value any) func(*signRequest) {
	return func(r *signRequest) {
		payload := target()
		descriptor := payload["targetArtifact"].(object)
		if descriptor[key] = value; value == nil {
			delete(descriptor, key)
		}
		r.payload = payload
	}
}

func payload(text string) func(*signRequest) { return func(r *signRequest) { r.payload = text } }

// What was signed does not count, by whomever.
func TestNotaryPayloads(t *testing.T) {
	p := newPKI(t)
	other := "sha256:" + strings.Repeat("0", 64)
	as := func(d ocispec.Descriptor) func(attest.Attachment) attest.Attachment {
		return func(att attest.Attachment) attest.Attachment { att.Target = d; return att }
	}
	refuseNotary(t, p, []notaryCase{
		{name: "good", want: ""},
		{name: "as known", att: as(known(ocispec.MediaTypeImageManifest, 123)), want: ""},
		{name: "other digest", sign: targetWith("digest", other), want: "the signature is about " + other + ", not about " + artifact.String()},
		{name: "other algorithm", sign: targetWith("digest", "sha512:"+strings.Repeat("0", 128)), want: "it must name " + artifact.String()},
		{name: "upper-case hex", sign: targetWith("digest", "sha256:"+strings.ToUpper(artifact.Encoded())), want: "must be lower-case"},
		{name: "upper-case algorithm", sign: targetWith("digest", "SHA256:"+artifact.Encoded()), want: "must be lower-case"},
		{name: "digest with space", sign: targetWith("digest", " "+artifact.String()), want: "is none"},
		{name: "no digest", sign: targetWith("digest", nil), want: "must have a mediaType, a digest and a size"},
		{name: "no size", sign: targetWith("size", nil), want: "must have a mediaType, a digest and a size"},
		{name: "size is no integer", sign: targetWith("size", "123"), want: "must have a mediaType, a digest and a size"},
		{name: "other media type", att: as(known(ocispec.MediaTypeImageIndex, 123)), want: `is about a "application/vnd.oci.image.manifest.v1+json", the artifact is a "application/vnd.oci.image.index.v1+json"`},
		{name: "other size", att: as(known(ocispec.MediaTypeImageManifest, 124)), want: "is about 123 bytes, the artifact has 124"},
		{name: "annotations", sign: targetWith("annotations", object{"a": 1}), want: `annotation "a" is not a string`},
		{name: "annotations are a list", sign: targetWith("annotations", []any{}), want: "not an object"},
		{name: "no target", sign: payload(`{"targetartifact":{}}`), want: "has no targetArtifact"},
		{name: "target is text", sign: payload(`{"targetArtifact":"x"}`), want: "has no targetArtifact"},
		{name: "claims attributes", sign: func(r *signRequest) {
			claimed := target()
			claimed["signature"] = object{"scheme": "none"}
			r.payload = claimed
		}, want: `the payload has a key "signature"`},
		{name: "payload type", sign: func(r *signRequest) { r.Payload.ContentType = attest.PayloadType }, want: `the signature is over a "application/vnd.in-toto+json"`},
	})
}

// These are signed as they stand by COSE only: the library's JWS signer writes JSON anew.
func TestNotaryAmbiguousPayloads(t *testing.T) {
	p := newPKI(t)
	good := string(mustJSON(t, target()))
	for _, tt := range [][2]string{
		{`{"targetArtifact":{},` + good[1:], "duplicate"},
		{strings.Replace(good, `"digest"`, `"Digest":"x","digest"`, 1), "differ only in case"},
		{good + "{}", "something follows"},
		{good[:len(good)-1], "EOF"},
		{`[]`, "not a JSON object"},
		{strings.Replace(good, "17", "\xff", 1), "UTF-8"},
		{strings.Replace(good, `{"`, `{"x":`+strings.Repeat("[", 100)+strings.Repeat("]", 100)+`,"`, 1), "nested deeper"},
	} {
		ev := attest.Verify(notarySign(t, attest.FormatNotaryCOSE, p.ec, payload(tt[0])), artifact, trusting(p.trust), noon())
		refused(t, ev, "the payload is not strict JSON")
		refused(t, ev, tt[1])
		hand := handSign(t, p.ec, protectedHeader(nil), tt[0])
		ev = attest.Verify(asNotary(attest.FormatNotaryJWS, mustJSON(t, hand)), artifact, trusting(p.trust), noon())
		refused(t, ev, "the payload is not strict JSON")
	}
}

// protectedHeader is a good one with changes.
func protectedHeader(changes object) string {
	header := object{
		"alg": "ES256", "cty": notaryPayload, "crit": []string{"io.cncf.notary.signingScheme"},
		"io.cncf.notary.signingScheme": "notary.x509", "io.cncf.notary.signingTime": "2026-11-22T11:00:00Z",
	}
	maps.Copy(header, changes)
	text, err := json.Marshal(header)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Envelopes that the library would take, or would read in another way than others do.
func TestNotaryEnvelopes(t *testing.T) {
	p := newPKI(t)
	good, text := protectedHeader(nil), string(mustJSON(t, target()))
	tests := []struct {
		name, protected string
		change          func(envelope object)
		want            string
	}{
		{"good", good, nil, ""},
		{"unprotected headers decide nothing", good, func(e object) {
			e["header"].(object)["io.cncf.notary.expiry"], e["header"].(object)["alg"] = "2000-01-01T00:00:00Z", "none"
		}, ""},
		{"case variant of a header", strings.Replace(good, `{"`, `{"IO.CNCF.notary.expiry":"2020-01-01T00:00:00Z","`, 1), nil, `which some read as "io.cncf.notary.expiry"`},
		{"header twice", strings.Replace(good, `{"`, `{"alg":"none","`, 1), nil, "protected header is not strict JSON"},
		{"no crit", protectedHeader(object{"crit": []string{}}), nil, `missing "crit"`},
		{"scheme not critical", protectedHeader(object{"crit": []string{"x"}, "x": 1}), nil, "not marked as critical"},
		{"critical and absent", protectedHeader(object{"crit": []string{"io.cncf.notary.signingScheme", "x"}}), nil, "not present"},
		{"critical and unknown", protectedHeader(object{"crit": []string{"io.cncf.notary.signingScheme", "x"}, "x": 1}), nil, `critical attribute "x", which is unknown`},
		{"expiry not critical", protectedHeader(object{"io.cncf.notary.expiry": "2027-01-01T00:00:00Z"}), nil, "not marked as critical"},
		{"unknown scheme", protectedHeader(object{"io.cncf.notary.signingScheme": "notary.x509.none"}), nil, "unsupported SigningScheme"},
		{"no time", protectedHeader(object{"io.cncf.notary.signingTime": nil}), nil, "signing-time not present"},
		{"other algorithm", protectedHeader(object{"alg": "none"}), nil, "signature is not valid"},
		{"weak algorithm", protectedHeader(object{"alg": "HS256"}), nil, "signature is not valid"},
		{"no header", good, func(e object) { delete(e, "header") }, "no header with certificates"},
		{"no chain", good, func(e object) { e["header"] = object{} }, "no certificate chain"},
		{"empty chain", good, func(e object) { e["header"] = object{"x5c": []any{}} }, "has no certificate"},
		{"chain of junk", good, func(e object) { e["header"] = object{"x5c": []any{"AAAA"}} }, "certificate 0 of the envelope cannot be read"},
		{"long chain", good, func(e object) {
			chain := e["header"].(object)["x5c"].([]string)
			e["header"] = object{"x5c": append(chain, chain...), "more": 1}
			for range 2 {
				e["header"].(object)["x5c"] = append(e["header"].(object)["x5c"].([]string), chain...)
			}
		}, "has 12 certificates, the limit is 10"},
		{"no signature", good, func(e object) { delete(e, "signature") }, `has no "signature"`},
		{"empty signature", good, func(e object) { e["signature"] = "" }, "signature is not valid"},
		{"two signatures", good, func(e object) { e["signatures"] = []any{object{}} }, "more than payload, protected, header and signature"},
		{"case variant", good, func(e object) { e["Payload"] = e["payload"] }, "differ only in case"},
		{"payload is no base64url", good, func(e object) { e["payload"] = "+/=" }, "not base64url"},
		{"timestamp is no base64", good, func(e object) { e["header"].(object)["io.cncf.notary.timestampSignature"] = "%" }, "timestamp is not base64"},
		{"over the limit", good, func(e object) { e["header"].(object)["x"] = strings.Repeat("x", 1<<20) }, "the limit is 1048576"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			envelope := handSign(t, p.ec, tt.protected, text)
			if tt.change != nil {
				tt.change(envelope)
			}
			ev := attest.Verify(asNotary(attest.FormatNotaryJWS, mustJSON(t, envelope)), artifact, trusting(p.trust), noon())
			if tt.want == "" {
				verified(t, ev, "release-signers")
			} else {
				refused(t, ev, tt.want)
			}
		})
	}
}

// The envelope was changed after it was signed, or is none.
func TestNotaryTampered(t *testing.T) {
	p := newPKI(t)
	replace := func(from, to string) func(attest.Attachment) attest.Attachment {
		return func(att attest.Attachment) attest.Attachment {
			if att.Format == attest.FormatNotaryJWS {
				var envelope object
				if err := json.Unmarshal(att.Content, &envelope); err != nil {
					t.Fatal(err)
				}
				again := handSign(t, p.ec, protectedHeader(nil), strings.Replace(string(mustJSON(t, target())), from, to, 1))
				envelope["payload"] = again["payload"]
				att.Content = mustJSON(t, envelope)
				return att
			}
			att.Content = bytes.Replace(att.Content, []byte(from), []byte(to), 1)
			return att
		}
	}
	trailing := func(att attest.Attachment) attest.Attachment {
		att.Content = append(att.Content, "{}"...)
		return att
	}
	cut := func(att attest.Attachment) attest.Attachment {
		att.Content = att.Content[:len(att.Content)/2]
		return att
	}
	crossed := func(att attest.Attachment) attest.Attachment {
		att.Format = map[attest.Format]attest.Format{attest.FormatNotaryJWS: attest.FormatNotaryCOSE, attest.FormatNotaryCOSE: attest.FormatNotaryJWS}[att.Format]
		return att
	}
	refuseNotary(t, p, []notaryCase{
		{name: "size", att: replace(":123", ":124"), want: "the signature is not valid"},
		{name: "annotation", att: replace(`"17"`, `"18"`), want: "the signature is not valid"},
		{name: "trailing bytes", att: trailing, want: "the envelope is not"},
		{name: "cut", att: cut, want: "the envelope is not"},
		{name: "of the other format", att: crossed, want: "the envelope is not"},
		{name: "empty", att: func(att attest.Attachment) attest.Attachment { att.Content = nil; return att }, want: "the envelope is not"},
	})
}

func extended(key string, critical bool) func(*signRequest) {
	return func(r *signRequest) {
		r.ExtendedSignedAttributes = append(r.ExtendedSignedAttributes, signature.Attribute{Key: key, Critical: critical, Value: "x"})
	}
}

func asAuthority(r *signRequest) { r.SigningScheme = signature.SigningSchemeX509SigningAuthority }

// Who signed does not count, or not any more, or not yet.
func TestNotaryTrust(t *testing.T) {
	p, q := newPKI(t), newPKI(t)
	leaf := func(ca certified, changes ...change) *certified {
		c := newLeaf(t, ca, "release", newKey(t), changes...)
		return &c
	}
	selfSigned := issueNotary(t, nil, newKey(t), leafTemplate("release"))
	oldCA := newNotaryCA(t, "old ca", &p.root, year(2025))
	critical := newNotaryCA(t, "critical ca", &p.root, func(c *x509.Certificate) {
		c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	})
	tls := newNotaryCA(t, "tls ca", &p.root, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	incomplete := certified{key: p.ec.key, chain: p.ec.chain[:2]}
	forged := certified{key: p.ec.key, chain: append(p.ec.chain[:1:1], q.ca.chain...)}
	both := p.with(func(n *attest.Notary) { n.SigningAuthorities = q.root.chain })
	identity := func(texts ...string) *attest.Notary {
		return p.with(func(n *attest.Notary) { n.Identities = identities(t, texts...) })
	}
	tests := []notaryCase{
		{name: "root not in the store", signer: &q.ec, want: "is not in the trust store"},
		{name: "self-signed", signer: &selfSigned, want: "is signed by nobody but itself"},
		{name: "self-signed and pinned", signer: &selfSigned, trust: p.with(func(n *attest.Notary) { n.CAs = selfSigned.chain }), want: "is signed by nobody but itself"},
		{name: "other organization", signer: leaf(p.ca, func(c *x509.Certificate) { c.Subject.Organization = []string{"evil"} }), want: `none of the identities x509.subject: C=US, ST=WA, O=acme, CN=release`},
		{name: "other name", signer: leaf(p.ca, func(c *x509.Certificate) { c.Subject.CommonName = "Release" }), want: "none of the identities"},
		{name: "two names", signer: leaf(p.ca, func(c *x509.Certificate) {
			c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "evil"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "release"},
				{Type: asn1.ObjectIdentifier{2, 5, 4, 6}, Value: "US"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 8}, Value: "WA"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "acme"}}
		}), want: "none of the identities"},
		{name: "attribute missing", trust: identity("x509.subject: C=US, ST=WA, O=acme, CN=release, OU=x"), want: "none of the identities"},
		{name: "second identity", trust: identity("x509.subject: C=US, ST=WA, O=other", "x509.subject: O=acme, S=WA, c=US"), want: ""},
		{name: "anyone", trust: identity("*"), want: ""},
		{name: "no identity", trust: p.with(func(n *attest.Notary) { n.Identities = nil }), want: "none of the identities"},
		{name: "zero identity", trust: p.with(func(n *attest.Notary) { n.Identities = make([]attest.NotaryIdentity, 1) }), want: "none of the identities"},
		{name: "wrong scheme", sign: asAuthority, want: "the authority names no signingAuthorities"},
		{name: "scheme of the other store", sign: asAuthority, trust: both, want: "is not in the trust store"},
		{name: "signing authority in the wrong store", signer: &q.ec, trust: both, want: "is not in the trust store"},
		{name: "signing authority", signer: &q.ec, sign: asAuthority, trust: both, want: ""},
		{name: "critical attribute", sign: extended("x", true), want: `the critical attribute "x", which is unknown here`},
		{name: "other attribute", sign: extended("x", false), want: ""},
		{name: "plugin", sign: extended("io.cncf.notary.verificationPlugin", true), want: "plugins are not supported"},
		{name: "plugin not critical", sign: extended("io.cncf.notary.verificationPlugin", false), want: "plugins are not supported"},
		{name: "CA with an unknown critical extension", signer: leaf(critical), want: "not good for signing code"},
		{name: "CA for other usages", signer: leaf(tls), want: "not good for signing code"},
		{name: "expired CA", signer: leaf(oldCA), sign: func(r *signRequest) { r.SigningTime = noon().AddDate(-1, 0, 0) }, want: `"CN=old ca,O=acme,ST=WA,C=US" expired at 2026-01-01T00:00:00Z, and nothing proves that it was signed before`},
		{name: "not yet valid", now: time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC), want: "is not valid before 2020-01-01T00:00:00Z"},
		{name: "expiry to come", sign: func(r *signRequest) { r.Expiry = noon().Add(time.Second) }, want: ""},
		{name: "expired signature", sign: func(r *signRequest) { r.Expiry = noon() }, want: "the signature expired at 2026-11-22T12:00:00Z"},
	}
	refuseNotary(t, p, tests)

	// JWS is refused by the library already.
	mixed := notarySign(t, attest.FormatNotaryCOSE, p.ec, extended("io.cncf.notary.authenticSigningTime", true))
	refused(t, attest.Verify(mixed, artifact, trusting(p.trust), noon()), "each belongs to another signing scheme")

	// The library signs with none of these, but takes its time to say so.
	text := string(mustJSON(t, target()))
	for name, tt := range map[string]struct {
		signer certified
		want   string
	}{
		"weak CA":                {newLeaf(t, weakCA(t), "release", newKey(t)), "certificate 1 of the envelope: the RSA key has 1024 bits"},
		"no root":                {incomplete, "not self-signed"},
		"chain of another CA":    {forged, "not issued by"},
		"CA as signer":           {certified{key: p.ca.key, chain: p.ca.chain}, "ca field must be set to false"},
		"certificate of TLS":     {*leaf(p.ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "must not contain ServerAuth"},
		"key usage":              {*leaf(p.ca, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), "CertSign"},
		"certificate of Ed25519": {certified{key: p.ec.key, chain: newLeaf(t, p.ca, "release", newEd25519(t)).chain}, "signature is not valid"},
	} {
		envelope := handSign(t, tt.signer, protectedHeader(nil), text)
		ev := attest.Verify(asNotary(attest.FormatNotaryJWS, mustJSON(t, envelope)), artifact, trusting(p.trust), noon())
		if !strings.Contains(ev.Problem, tt.want) || ev.Verified() {
			t.Errorf("%s: problem %q, want %q in it", name, ev.Problem, tt.want)
		}
	}
}

// Keys and Notary trust do not stand in for one another, and the reason says what would do.
func TestNotaryBesideKeys(t *testing.T) {
	p, key := newPKI(t), newKey(t)
	ci := authority(t, "ci", key)
	release := trusting(p.trust)[0]
	att, bundle := notarySign(t, attest.FormatNotaryCOSE, p.ec), bundleOf(t, key, statement())
	refused(t, attest.Verify(att, artifact, []attest.Authority{ci}, noon()), `it is a Notary Project signature by "CN=release,O=acme,ST=WA,C=US", and ci would have to sign an attestation`)
	refused(t, attest.Verify(bundle, artifact, []attest.Authority{release}, noon()), "release-signers can only sign with notation")
	refused(t, attest.Verify(att, artifact, nil, noon()), "no authority whose signature would count")
	verified(t, attest.Verify(att, artifact, []attest.Authority{ci, release}, noon()), "release-signers")
	verified(t, attest.Verify(bundle, artifact, []attest.Authority{ci, release}, noon()), "ci")
	stranger := bundleOf(t, newKey(t), statement())
	refused(t, attest.Verify(stranger, artifact, []attest.Authority{ci, release}, noon()), "no key of ci verifies the signature")
	// A certificate's key is no authority's key, even where it is the same.
	same := authority(t, "ci", p.ec.key)
	refused(t, attest.Verify(att, artifact, []attest.Authority{same}, noon()), "counts for an authority with notary")
}

func TestNotaryUnverifiedIsShown(t *testing.T) {
	p, q := newPKI(t), newPKI(t)
	ev := attest.Verify(notarySign(t, attest.FormatNotaryJWS, p.ec), artifact, trusting(q.trust), noon())
	refused(t, ev, "is not in the trust store")
	if ev.PredicateType != attest.PredicateNotary || ev.Predicate()["targetArtifact"] == nil || ev.Predicate()["signature"] != nil {
		t.Errorf("got %v", ev.Statement)
	}
}
