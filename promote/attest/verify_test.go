package attest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

func refused(t *testing.T, ev attest.Evidence, want string) {
	t.Helper()
	if ev.Verified() || len(ev.Signers) > 0 {
		t.Errorf("verified, signed by %v", ev.Signers)
	}
	if !strings.Contains(ev.Problem, want) {
		t.Errorf("problem %q, want %q in it", ev.Problem, want)
	}
}

func verified(t *testing.T, ev attest.Evidence, authorities ...string) {
	t.Helper()
	var got []string
	for _, s := range ev.Signers {
		got = append(got, s.Authority)
	}
	if !ev.Verified() || fmt.Sprint(got) != fmt.Sprint(authorities) {
		t.Errorf("problem %q, signed by %v; want %v", ev.Problem, got, authorities)
	}
	if !ev.SignedAt.IsZero() {
		t.Errorf("signed at %v, which nothing proves", ev.SignedAt)
	}
}

func TestVerifyKinds(t *testing.T) {
	signers := map[string]crypto.Signer{
		"P-256": newKey(t), "P-384": newECDSA(t, elliptic.P384()), "P-521": newECDSA(t, elliptic.P521()),
		"RSA 2048": newRSA(t, 2048), "Ed25519": newEd25519(t),
	}
	for name, signer := range signers {
		t.Run(name, func(t *testing.T) {
			trusted := []attest.Authority{authority(t, "other", newKey(t)), authority(t, "ci", newKey(t), signer)}
			ev := attest.Verify(bundleOf(t, signer, statement()), artifact, trusted, noon())
			verified(t, ev, "ci")
			if ev.PredicateType != slsa || ev.Signers[0].KeyID != publicKey(t, signer).ID || ev.Signers[0].Principal != "ci" {
				t.Errorf("got %+v", ev)
			}
			if n := ev.Predicate()["n"]; n != int64(9007199254740993) {
				t.Errorf("n = %v: a large integer changed", n)
			}
			envelope := mustJSON(t, rawEnvelope(t, signer, attest.PayloadType, string(mustJSON(t, statement()))))
			for _, format := range []attest.Format{attest.FormatDSSE, attest.FormatCosignAtt} {
				verified(t, attest.Verify(attest.Attachment{Format: format, Content: envelope}, artifact, trusted, noon()), "ci")
			}
		})
	}
}

func TestVerifyCosign(t *testing.T) {
	key, err := attest.ParsePublicKey(testdata(t, "cosign.pub"))
	if err != nil {
		t.Fatal(err)
	}
	trusted := []attest.Authority{{Name: "ci", Principal: "the CI", Keys: []attest.Key{key}}}
	for name, format := range map[string]attest.Format{"cosign-bundle.json": attest.FormatBundle, "cosign-envelope.json": attest.FormatCosignAtt} {
		ev := attest.Verify(attest.Attachment{Format: format, Content: testdata(t, name)}, artifact, trusted, noon())
		verified(t, ev, "ci")
		if ev.PredicateType != slsa || ev.Signers[0].Principal != "the CI" {
			t.Errorf("%s: got %+v", name, ev)
		}
		other := attest.Verify(attest.Attachment{Format: format, Content: testdata(t, name)}, digest.FromString("other"), trusted, noon())
		refused(t, other, "is about "+artifact.String())
	}
}

func TestVerifyBundleVersions(t *testing.T) {
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	for mediaType, good := range map[string]bool{
		"application/vnd.dev.sigstore.bundle+json;version=0.1": true,
		"application/vnd.dev.sigstore.bundle+json;version=0.2": true,
		"application/vnd.dev.sigstore.bundle+json;version=0.3": true,
		"application/vnd.dev.sigstore.bundle.v0.3+json":        true,
		"application/vnd.dev.sigstore.bundle.v0.4+json":        false,
		"application/vnd.dev.sigstore.bundle+json;version=0.9": false,
		"application/vnd.dev.sigstore.bundle.v0.0.1+json":      false,
		"application/json": false,
		"":                 false,
	} {
		bundle := rawBundle(t, signer, attest.PayloadType, string(mustJSON(t, statement())))
		bundle["mediaType"] = mediaType
		ev := attest.Verify(asBundle(mustJSON(t, bundle)), artifact, trusted, noon())
		if good {
			verified(t, ev, "ci")
		} else {
			refused(t, ev, "the bundle's media type")
		}
	}
}

// Each of these is signed by a trusted key: what was signed does not count.
func TestVerifyStatements(t *testing.T) {
	with := func(key string, value any) object {
		s := statement()
		s[key] = value
		return s
	}
	without := func(key string) object {
		s := statement()
		delete(s, key)
		return s
	}
	subject := func(digests ...object) object {
		var all []any
		for _, d := range digests {
			all = append(all, object{"name": "app", "digest": d})
		}
		return with("subject", all)
	}
	hex := artifact.Encoded()
	other := digest.FromString("other").Encoded()
	tests := []struct {
		name string
		of   object
		want string // empty: counts
	}{
		{"good", statement(), ""},
		{"v0.1", with("_type", attest.StatementV01), ""},
		{"one of several subjects", subject(object{"sha256": other}, object{"sha256": hex}), ""},
		{"several algorithms", subject(object{"sha512": other, "sha256": hex}), ""},
		{"no predicate", without("predicate"), ""},
		{"URN", with("predicateType", "urn:example:test"), ""},
		{"unknown keys", with("extension", object{"a": 1}), ""},

		{"another digest", subject(object{"sha256": other}), "is about sha256:" + other},
		{"many others", subject(object{"sha256": other}, object{"sha256": other + "1"}, object{"sha256": "2"}, object{"sha256": "3"}, object{"sha256": "4"}), "2 more"},
		{"upper-case hex", subject(object{"sha256": strings.ToUpper(hex)}), "must be lower-case"},
		{"one upper-case digit", subject(object{"sha256": strings.Replace(hex, "b", "B", 1)}), "must be lower-case"},
		{"only sha512", subject(object{"sha512": digest.SHA512.FromString("x").Encoded()}), "only by sha512"},
		{"sha512 with the hex of sha256", subject(object{"sha512": hex}), "only by sha512"},
		{"only sha1 and gitCommit", subject(object{"sha1": "ab", "gitCommit": "cd"}), "only by gitCommit, sha1"},
		{"algorithm in upper case", subject(object{"SHA256": hex}), "only by SHA256"},
		{"algorithm in the value", subject(object{"sha256": "sha256:" + hex}), "is about"},
		{"short hex", subject(object{"sha256": hex[:63]}), "is about"},
		{"padded hex", subject(object{"sha256": hex + "0"}), "is about"},
		{"white space", subject(object{"sha256": " " + hex}), "is about"},
		{"digest is a number", subject(object{"sha256": 1}), "not a string"},
		{"digest is empty", subject(object{}), "no digest"},
		{"one subject without digest", subject(object{"sha256": hex}, object{}), "no digest"},
		{"no subject", without("subject"), "no subject"},
		{"empty subject", with("subject", []any{}), "no subject"},
		{"subject is an object", with("subject", object{"digest": object{"sha256": hex}}), "no subject"},
		{"subject is a string", with("subject", []any{artifact.String()}), "no digest"},
		{"Subject", func() object {
			s := without("subject")
			s["Subject"] = statement()["subject"]
			return s
		}(), "no subject"},

		{"no type", without("_type"), "_type"},
		{"type without underscore", func() object {
			s := without("_type")
			s["type"] = attest.StatementV1
			return s
		}(), "_type"},
		{"unknown type", with("_type", "https://in-toto.io/Statement/v2"), "Statement/v2"},
		{"type ends in a slash", with("_type", attest.StatementV1+"/"), "Statement/v1/"},
		{"type in another case", with("_type", "https://in-toto.io/statement/v1"), "statement/v1"},
		{"a layout", with("_type", "link"), "link"},
		{"type is a number", with("_type", 1), "_type"},

		{"no predicate type", without("predicateType"), "no predicateType"},
		{"empty predicate type", with("predicateType", ""), "empty"},
		{"slash-ended predicate type", with("predicateType", slsa+"/"), "ends in a slash"},
		{"relative predicate type", with("predicateType", "slsa/provenance/v1"), "absolute URI"},
		{"predicate type without scheme", with("predicateType", "slsa.dev/provenance/v1"), "absolute URI"},
		{"predicate type with only a scheme", with("predicateType", "https://"), "absolute URI"},
		{"predicate type with a space", with("predicateType", slsa+" "), "absolute URI"},
		{"predicate type with a line", with("predicateType", slsa+"\n"), "absolute URI"},
		{"predicate type is null", with("predicateType", nil), "no predicateType"},
		{"predicate is a list", with("predicate", []any{}), "not an object"},
		{"predicate is a string", with("predicate", "{}"), "is text, not an object"},
		{"SPDX as cosign attests it", with("predicate", "SPDXVersion: SPDX-2.3"), "the JSON under --type spdxjson"},
	}
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, att := range []attest.Attachment{
				bundleOf(t, signer, tt.of),
				{Format: attest.FormatCosignAtt, Content: mustJSON(t, rawEnvelope(t, signer, attest.PayloadType, string(mustJSON(t, tt.of))))},
			} {
				ev := attest.Verify(att, artifact, trusted, noon())
				if tt.want == "" {
					verified(t, ev, "ci")
					continue
				}
				refused(t, ev, tt.want)
				if ev.Statement == nil {
					t.Error("nothing to show")
				}
			}
		})
	}
}

// A right label over a wrong payload: only what was signed counts.
func TestVerifyIgnoresLabels(t *testing.T) {
	signer := newKey(t)
	s := statement()
	s["predicateType"] = "https://example.com/other"
	att := bundleOf(t, signer, s)
	att.Manifest.Annotations = map[string]string{attest.AnnotationBundlePredicateType: slsa}
	att.Layer.Annotations = map[string]string{"predicateType": slsa}
	ev := attest.Verify(att, artifact, []attest.Authority{authority(t, "ci", signer)}, noon())
	verified(t, ev, "ci")
	if ev.PredicateType != "https://example.com/other" {
		t.Errorf("predicate type %q", ev.PredicateType)
	}
}

func TestVerifySHA512(t *testing.T) {
	subject := digest.SHA512.FromString("artifact")
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	s := statement()
	s["subject"] = []any{object{"digest": object{"sha512": subject.Encoded()}}}
	verified(t, attest.Verify(bundleOf(t, signer, s), subject, trusted, noon()), "ci")
	refused(t, attest.Verify(bundleOf(t, signer, statement()), subject, trusted, noon()), "only by sha256")
}

// Texts that mean different things to different readers, signed by a trusted key.
func TestVerifyAmbiguousPayloads(t *testing.T) {
	good := string(mustJSON(t, statement()))
	other := `[{"digest":{"sha256":"` + digest.FromString("other").Encoded() + `"}}]`
	signer := newKey(t)
	trusted := []attest.Authority{authority(t, "ci", signer)}
	for name, payload := range map[string]string{
		"second subject":            strings.Replace(good, "{", `{"subject":`+other+`,`, 1),
		"Subject":                   strings.Replace(good, "{", `{"Subject":`+other+`,`, 1),
		"second predicateType":      strings.Replace(good, "{", `{"predicateType":"https://a.b/c",`, 1),
		"PREDICATETYPE":             strings.Replace(good, "{", `{"PREDICATETYPE":"https://a.b/c",`, 1),
		"second key in predicate":   strings.Replace(good, `"n":`, `"n":1,"n":`, 1),
		"case variant in predicate": strings.Replace(good, `"n":`, `"N":1,"n":`, 1),
		"case variant in digest":    strings.Replace(good, `"sha256":`, `"SHA256":"00","sha256":`, 1),
		"trailing object":           good + "{}",
		"trailing byte":             good + "x",
		"depth bomb":                strings.Replace(good, `"n":`, `"d":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`,"n":`, 1),
		"invalid UTF-8":             strings.Replace(good, `"n":`, "\"d\":\"\xff\",\"n\":", 1),
		"too large an integer":      strings.Replace(good, `9007199254740993`, "90071992547409930000000", 1),
		"a list":                    "[" + good + "]",
		"nothing":                   "",
	} {
		t.Run(name, func(t *testing.T) {
			ev := attest.Verify(asBundle(mustJSON(t, rawBundle(t, signer, attest.PayloadType, payload))), artifact, trusted, noon())
			refused(t, ev, "the payload is not strict JSON")
			envelope := mustJSON(t, rawEnvelope(t, signer, attest.PayloadType, payload))
			ev = attest.Verify(attest.Attachment{Format: attest.FormatDSSE, Content: envelope}, artifact, trusted, noon())
			refused(t, ev, "the payload is not strict JSON")
		})
	}
}

func TestVerifyKeyWindows(t *testing.T) {
	signer := newKey(t)
	att := bundleOf(t, signer, statement())
	at := func(hours int) time.Time { return noon().Add(time.Duration(hours) * time.Hour) }
	for _, tt := range []struct {
		name          string
		before, after time.Time
		want          string
	}{
		{"no bounds", time.Time{}, time.Time{}, ""},
		{"inside", at(-1), at(1), ""},
		{"at the first moment", noon(), at(1), ""},
		{"at the last moment", at(-1), noon(), ""},
		{"expired", time.Time{}, at(-1), "expired at 2026-11-22T11:00:00Z"},
		{"expired by a second", time.Time{}, noon().Add(-time.Second), "expired at 2026-11-22T11:59:59Z"},
		{"not yet valid", at(1), time.Time{}, "not valid before 2026-11-22T13:00:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trusted := authority(t, "ci", signer)
			trusted.Keys[0].NotBefore, trusted.Keys[0].NotAfter = tt.before, tt.after
			ev := attest.Verify(att, artifact, []attest.Authority{trusted}, noon())
			if tt.want == "" {
				verified(t, ev, "ci")
				return
			}
			refused(t, ev, tt.want)
			refused(t, ev, "nothing proves when it signed")
			// Another authority may trust the key for longer.
			verified(t, attest.Verify(att, artifact, []attest.Authority{trusted, authority(t, "gha", signer)}, noon()), "gha")
			// The same key again, with other bounds, under the same authority.
			trusted.Keys = append(trusted.Keys, publicKey(t, signer))
			verified(t, attest.Verify(att, artifact, []attest.Authority{trusted}, noon()), "ci")
		})
	}
}

// One key under several names verifies for each; the fingerprint, which names cannot
// change, lets a policy count it once.
func TestVerifyOneKeyUnderTwoNames(t *testing.T) {
	signer := newKey(t)
	ev := attest.Verify(bundleOf(t, signer, statement()), artifact, []attest.Authority{
		{Name: "b", Principal: "team", Keys: []attest.Key{{ID: "one", Public: signer.Public()}}},
		{Name: "a", Keys: []attest.Key{{ID: "two", Public: signer.Public()}, {ID: "three", Public: signer.Public()}}},
	}, noon())
	verified(t, ev, "a", "b")
	id := publicKey(t, signer).ID
	want := []attest.Signer{{Authority: "a", Principal: "a", KeyID: id}, {Authority: "b", Principal: "team", KeyID: id}}
	if fmt.Sprint(ev.Signers) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", ev.Signers, want)
	}
}

func TestVerifyUntrusted(t *testing.T) {
	signer := newKey(t)
	att := bundleOf(t, signer, statement())
	refused(t, attest.Verify(att, artifact, nil, noon()), "no authority whose signature would count")
	refused(t, attest.Verify(att, artifact, []attest.Authority{{Name: "ci"}}, noon()), "no authority signed it")
	refused(t, attest.Verify(att, artifact, []attest.Authority{authority(t, "ci", newKey(t), newEd25519(t), newRSA(t, 2048))}, noon()), "no key of ci verifies")
	stranger := newKey(t)
	refused(t, attest.Verify(att, artifact, []attest.Authority{authority(t, "a", stranger), authority(t, "b", stranger)}, noon()), "no key of a, b verifies")
	weak := attest.Authority{Name: "weak", Keys: []attest.Key{{Public: &newRSA(t, 1024).(*rsa.PrivateKey).PublicKey}}}
	refused(t, attest.Verify(att, artifact, []attest.Authority{weak}, noon()), "1024 bits")
}

// Found by name or not, what nobody signed is data.
func TestVerifyUnsigned(t *testing.T) {
	trusted := []attest.Authority{authority(t, "ci", newKey(t))}
	good := mustJSON(t, statement())
	for name, content := range map[string][]byte{"statement": good, "SPDX": []byte(`{"spdxVersion":"SPDX-2.3"}`), "text": []byte("PackageName: x"), "nothing": nil} {
		ev := attest.Verify(attest.Attachment{Format: attest.FormatUnsigned, Content: content}, artifact, trusted, noon())
		refused(t, ev, "unsigned: data, not evidence")
		if strings.Contains(ev.Problem, "besides") {
			t.Errorf("%s: %q", name, ev.Problem)
		}
	}
	ev := attest.Verify(attest.Attachment{Format: attest.FormatUnsigned, Content: good}, artifact, trusted, noon())
	if ev.PredicateType != slsa || ev.Predicate() == nil {
		t.Errorf("nothing to show: %+v", ev)
	}
	ev = attest.Verify(attest.Attachment{Format: attest.FormatUnsigned, Content: good}, digest.FromString("another image"), trusted, noon())
	refused(t, ev, "unsigned: data, not evidence; besides, the statement is about "+artifact.String())
}

func TestVerifyProblemStays(t *testing.T) {
	att := bundleOf(t, newKey(t), statement())
	att.Problem = "over the limit"
	att.Manifest.Digest = artifact
	ev := attest.Verify(att, artifact, nil, noon())
	refused(t, ev, "over the limit")
	if ev.Manifest != artifact || ev.Subject != artifact || ev.Format != attest.FormatBundle {
		t.Errorf("got %+v", ev)
	}
	refused(t, attest.Verify(attest.Attachment{Format: "zip"}, artifact, nil, noon()), "unknown")
}

// A key that makes the libraries panic stands for any panic in them.
func TestVerifySurvivesPanic(t *testing.T) {
	signer := newKey(t)
	good := authority(t, "a", signer)
	for _, broken := range []crypto.PublicKey{(*rsa.PublicKey)(nil), (*ecdsa.PublicKey)(nil)} {
		trusted := []attest.Authority{good, {Name: "broken", Keys: []attest.Key{{Public: broken}}}}
		refused(t, attest.Verify(bundleOf(t, signer, statement()), artifact, trusted, noon()), "verification broke off")
	}
	unusable := attest.Authority{Name: "unusable", Keys: []attest.Key{{Public: "no key"}}}
	refused(t, attest.Verify(bundleOf(t, signer, statement()), artifact, []attest.Authority{unusable}, noon()), "cannot be used")
}
