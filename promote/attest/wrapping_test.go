package attest_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

func TestVerifyPayloadType(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	good := string(mustJSON(t, statement()))
	for _, payloadType := range []string{"", "application/json", "text/plain", "application/vnd.in-toto+JSON", "application/vnd.in-toto+json ",
		"application/vnd.in-toto+json;v=1", "application/vnd.in-toto.layout+json", "http://in-toto.io/Statement/v1"} {
		ev := attest.Verify(asBundle(mustJSON(t, rawBundle(t, signer, payloadType, good))), artifact, trusted, noon())
		refused(t, ev, "payloadType is \""+payloadType+"\"")
		if ev.Statement != nil {
			t.Error("a payload of another type was read as a statement")
		}
		envelope := mustJSON(t, rawEnvelope(t, signer, payloadType, good))
		refused(t, attest.Verify(attest.Attachment{Format: attest.FormatDSSE, Content: envelope}, artifact, trusted, noon()), "payloadType")
	}
	// Signed as one type, wrapped as the other.
	bundle := rawBundle(t, signer, "application/json", good)
	bundle["dsseEnvelope"].(object)["payloadType"] = attest.PayloadType
	refused(t, attest.Verify(asBundle(mustJSON(t, bundle)), artifact, trusted, noon()), "no authority signed it")
}

func TestVerifyBundleSignatures(t *testing.T) {
	signer, other := newKey(t), newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer), authority(t, "gha", other)}
	payload := string(mustJSON(t, statement()))
	one := object{"sig": rawSign(t, signer, attest.PayloadType, []byte(payload))}
	two := object{"sig": rawSign(t, other, attest.PayloadType, []byte(payload))}
	for _, tt := range []struct {
		name       string
		signatures any
		want       string
	}{
		{"none", []any{}, "0 signatures"},
		{"null", nil, "0 signatures"},
		{"two", []any{one, two}, "2 signatures"},
		{"the same twice", []any{one, one}, "2 signatures"},
		{"a good and a bad one", []any{one, object{"sig": "AAAA"}}, "2 signatures"},
		{"an empty one", []any{object{"sig": ""}}, "no authority signed it"},
		{"another's bytes", []any{object{"sig": "AAAA"}}, "no authority signed it"},
		{"no base64", []any{object{"sig": "!"}}, "not a Sigstore bundle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := rawBundle(t, signer, attest.PayloadType, payload)
			bundle["dsseEnvelope"].(object)["signatures"] = tt.signatures
			refused(t, attest.Verify(asBundle(mustJSON(t, bundle)), artifact, trusted, noon()), tt.want)
		})
	}
}

// Key ids are hints that nobody signed: they neither verify nor keep from verifying.
func TestVerifyKeyIDs(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	bundle := rawBundle(t, signer, attest.PayloadType, string(mustJSON(t, statement())))
	bundle["dsseEnvelope"].(object)["signatures"].([]any)[0].(object)["keyid"] = "SHA256:somebody"
	bundle["verificationMaterial"] = object{"publicKey": object{"hint": "another"}}
	verified(t, attest.Verify(asBundle(mustJSON(t, bundle)), artifact, trusted, noon()), "ci")

	envelope := rawEnvelope(t, signer, attest.PayloadType, string(mustJSON(t, statement())))
	envelope["signatures"].([]any)[0].(object)["keyid"] = "somebody"
	verified(t, attest.Verify(attest.Attachment{Format: attest.FormatDSSE, Content: mustJSON(t, envelope)}, artifact, trusted, noon()), "ci")

	// The right name on a signature of another.
	forged := rawBundle(t, newKey(t), attest.PayloadType, string(mustJSON(t, statement())))
	raw, err := hex.DecodeString(trusted[0].Keys[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	forged["verificationMaterial"] = object{"publicKey": object{"hint": base64.StdEncoding.EncodeToString(raw)}}
	refused(t, attest.Verify(asBundle(mustJSON(t, forged)), artifact, trusted, noon()), "it names the key "+trusted[0].Keys[0].ID+" of ci")
	forged["verificationMaterial"] = object{"publicKey": object{"hint": "somebody"}}
	refused(t, attest.Verify(asBundle(mustJSON(t, forged)), artifact, trusted, noon()), `names the key "somebody"`)
}

func TestVerifyEnvelopes(t *testing.T) {
	signer, other := newKey(t), newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer), authority(t, "gha", other)}
	payload := string(mustJSON(t, statement()))
	one := object{"sig": rawSign(t, signer, attest.PayloadType, []byte(payload))}
	two := object{"sig": rawSign(t, other, attest.PayloadType, []byte(payload))}
	with := func(key string, value any) []byte {
		e := rawEnvelope(t, signer, attest.PayloadType, payload)
		e[key] = value
		return mustJSON(t, e)
	}
	good := string(with("x", 1))
	tests := []struct {
		name    string
		content string
		want    string // empty: counts
		by      []string
	}{
		{"two signatures", string(with("signatures", []any{two, one})), "", []string{"ci", "gha"}},
		{"the same twice", string(with("signatures", []any{one, one})), "", []string{"ci"}},
		{"a stranger's beside it", string(with("signatures", []any{object{"sig": "AAAA"}, one})), "", []string{"ci"}},
		{"URL encoding", string(with("payload", base64.URLEncoding.EncodeToString([]byte(payload)))), "", []string{"ci"}},
		{"no signature", string(with("signatures", []any{})), "no signature", nil},
		{"signatures is null", string(with("signatures", nil)), "no signature", nil},
		{"too many", string(with("signatures", make([]object, 33))), "33 signatures", nil},
		{"not an object", string(with("signatures", []any{"x"})), "no \"sig\"", nil},
		{"no base64", string(with("signatures", []any{object{"sig": "!"}})), "not base64", nil},
		{"no payload", string(with("payload", nil)), "no payload", nil},
		{"payload no base64", string(with("payload", "!")), "not base64", nil},
		{"changed payload", string(with("payload", []byte(payload+" "))), "no authority signed it", nil},
		{"no JSON", "payload", "not strict JSON", nil},
		{"second payload", strings.Replace(good, "{", `{"payload":"e30=",`, 1), "not strict JSON", nil},
		{"Payload", strings.Replace(good, "{", `{"Payload":"e30=",`, 1), "not strict JSON", nil},
		{"trailing bytes", good + "{}", "not strict JSON", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ev := attest.Verify(attest.Attachment{Format: attest.FormatDSSE, Content: []byte(tt.content)}, artifact, trusted, noon())
			if tt.want == "" {
				verified(t, ev, tt.by...)
			} else {
				refused(t, ev, tt.want)
			}
		})
	}
}

func selfSigned(t *testing.T, signer crypto.Signer) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "someone"}, NotAfter: noon().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// The signature is a trusted key's in each case; the material is not a key's name.
func TestVerifyMaterial(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	certificate := selfSigned(t, signer)
	bareKey, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		material any
		want     string
	}{
		{"certificate", object{"certificate": object{"rawBytes": certificate}}, `but with a certificate (issued by "CN=someone"`},
		{"chain", object{"x509CertificateChain": object{"certificates": []any{object{"rawBytes": certificate}}}}, "but with a certificate"},
		{"bare key as certificate", object{"certificate": object{"rawBytes": bareKey}}, "bare public key"},
		{"bare key in the chain", object{"x509CertificateChain": object{"certificates": []any{object{"rawBytes": bareKey}}}}, "bare public key"},
		{"garbage as certificate", object{"certificate": object{"rawBytes": "AAAA"}}, "for a certificate is none"},
		{"empty certificate", object{"certificate": object{}}, "for a certificate is none"},
		{"empty chain", object{"x509CertificateChain": object{}}, "for a certificate is none"},
		{"certificate and key", object{"certificate": object{"rawBytes": certificate}, "publicKey": object{}}, "not a Sigstore bundle"},
		{"nothing", object{}, "verification material"},
		{"null", nil, "verification material"},
		{"unknown", object{"publicKeyRaw": "x"}, "not a Sigstore bundle"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := rawBundle(t, signer, attest.PayloadType, string(mustJSON(t, statement())))
			bundle["verificationMaterial"] = tt.material
			ev := attest.Verify(asBundle(mustJSON(t, bundle)), artifact, trusted, noon())
			refused(t, ev, tt.want)
		})
	}
}

// Log entries and timestamps cannot be verified without a root: they prove nothing, and
// one that is plainly about something else refuses.
func TestVerifyLogEntries(t *testing.T) {
	signer := newKey(t)
	trusted := authority(t, "ci", signer)
	payload := mustJSON(t, statement())
	sum := sha256.Sum256(payload)
	entry := func(body string) object {
		return object{"logIndex": "1", "integratedTime": "1700000000", "canonicalizedBody": []byte(body), "kindVersion": object{"kind": "dsse", "version": "0.0.1"}}
	}
	fits := entry(`{"spec":{"payloadHash":{"algorithm":"sha256","value":"` + hex.EncodeToString(sum[:]) + `"}}}`)
	v2 := entry(`{"spec":{"dsseV002":{"payloadHash":{"digest":"` + base64.StdEncoding.EncodeToString(sum[:]) + `"}}}}`)
	foreign := entry(`{"spec":{"payloadHash":{"algorithm":"sha256","value":"` + strings.Repeat("0", 64) + `"}}}`)
	timestamp := object{"rfc3161Timestamps": []any{object{"signedTimestamp": []byte("anything")}}}
	for _, tt := range []struct {
		name     string
		material object
		want     string
	}{
		{"fits", object{"tlogEntries": []any{fits}}, ""},
		{"fits, Rekor v2", object{"tlogEntries": []any{v2}}, ""},
		{"one log twice", object{"tlogEntries": []any{fits, fits}}, ""},
		{"no body", object{"tlogEntries": []any{entry("")}}, ""},
		{"about another", object{"tlogEntries": []any{foreign}}, "log entry 0 of the bundle: it is about something else"},
		{"the second about another", object{"tlogEntries": []any{fits, foreign}}, "log entry 1"},
		{"untrusted timestamp", object{"timestampVerificationData": timestamp}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bundle := rawBundle(t, signer, attest.PayloadType, string(payload))
			tt.material["publicKey"] = object{"hint": ""}
			bundle["verificationMaterial"] = tt.material
			att := asBundle(mustJSON(t, bundle))
			ev := attest.Verify(att, artifact, []attest.Authority{trusted}, noon())
			if tt.want != "" {
				refused(t, ev, tt.want)
				return
			}
			verified(t, ev, "ci")
			// The time in the entry is before the key expired; it is not believed.
			expired := authority(t, "ci", signer)
			expired.Keys[0].NotAfter = time.Unix(1800000000, 0)
			refused(t, attest.Verify(att, artifact, []attest.Authority{expired}, time.Unix(1900000000, 0)), "expired at")
		})
	}
}

func TestVerifyBundleText(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	good := string(mustJSON(t, rawBundle(t, signer, attest.PayloadType, string(mustJSON(t, statement())))))
	message := object{"mediaType": attest.MediaTypeBundle, "verificationMaterial": object{"publicKey": object{}},
		"messageSignature": object{"messageDigest": object{"algorithm": "SHA2_256", "digest": "AAAA"}, "signature": "AAAA"}}
	for name, tt := range map[string]struct{ content, want string }{
		"nothing":                {"", "not strict JSON"},
		"no JSON":                {"bundle", "not strict JSON"},
		"empty object":           {"{}", "media type"},
		"trailing object":        {good + "{}", "not strict JSON"},
		"second envelope":        {strings.Replace(good, `"dsseEnvelope"`, `"dsseEnvelope":{},"dsseEnvelope"`, 1), "not strict JSON"},
		"case variant":           {strings.Replace(good, `"payload"`, `"Payload":"e30=","payload"`, 1), "not strict JSON"},
		"two spellings":          {strings.Replace(good, `"dsseEnvelope"`, `"dsse_envelope":{},"dsseEnvelope"`, 1), "not a Sigstore bundle"},
		"invalid UTF-8":          {strings.Replace(good, `"hint":""`, "\"hint\":\"\xff\"", 1), "not strict JSON"},
		"depth bomb":             {`{"mediaType":` + strings.Repeat("[", 20000), "not strict JSON"},
		"unknown key":            {strings.Replace(good, "{", `{"x":1,`, 1), "not a Sigstore bundle"},
		"signature over bytes":   {string(mustJSON(t, message)), "no DSSE envelope"},
		"envelope is null":       {strings.Replace(good, `"dsseEnvelope":{`, `"dsseEnvelope":null,"x":{`, 1), "not a Sigstore bundle"},
		"an envelope, no bundle": {string(mustJSON(t, rawEnvelope(t, signer, attest.PayloadType, "{}"))), "not a Sigstore bundle"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, attest.Verify(asBundle([]byte(tt.content)), artifact, trusted, noon()), tt.want)
		})
	}
	verified(t, attest.Verify(asBundle([]byte(good)), artifact, trusted, noon()), "ci")
}
