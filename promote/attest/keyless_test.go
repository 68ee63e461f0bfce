package attest_test

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"

	"sluice.dev/sluice/promote/attest"
)

func provenAt(t *testing.T, ev attest.Evidence, at time.Time, authorities ...string) {
	t.Helper()
	if !ev.SignedAt.Equal(at) {
		t.Errorf("signed at %v, want %v", ev.SignedAt, at)
	}
	ev.SignedAt = time.Time{}
	verified(t, ev, authorities...)
}

func TestVerifyKeyless(t *testing.T) {
	d := newDeployment(t)
	minute := noon().Add(time.Minute)
	leaf := d.leaf(identified(issuer, subject), d.ctKey)
	tr := d.trustedRoot(nil)
	trusted := []attest.Authority{keyless(t, attest.KeylessConfig{Root: tr, LogEntries: 1, CertificateTimestamps: 1})}
	later := minute.AddDate(2, 0, 0) // the certificate is long gone
	payload := mustJSON(t, statement())
	for _, version := range []string{attest.MediaTypeBundle, "application/vnd.dev.sigstore.bundle+json;version=0.1",
		"application/vnd.dev.sigstore.bundle+json;version=0.2", "application/vnd.dev.sigstore.bundle+json;version=0.3"} {
		b := d.sign(leaf, payload)
		b.version = version
		ev := attest.Verify(b.attachment(t), artifact, trusted, later)
		provenAt(t, ev, minute, "gha")
		want := attest.Signer{Authority: "gha", Principal: "acme-ci", KeyID: ev.Signers[0].KeyID, Issuer: issuer, Subject: subject}
		if ev.Signers[0] != want || len(want.KeyID) != 64 || ev.PredicateType != slsa {
			t.Errorf("%s: got %+v", version, ev)
		}
		// The same identity with another certificate has the same id: it counts once.
		again := attest.Verify(d.sign(d.leaf(identified(issuer, subject), d.ctKey), payload).attachment(t), artifact, trusted, later)
		if again.Signers[0] != want {
			t.Errorf("got %+v, want %+v", again.Signers, want)
		}
	}
	provenAt(t, attest.Verify(d.sign(leaf, payload).annotated(t), artifact, trusted, later), minute, "gha")

	expressions := keyless(t, attest.KeylessConfig{Root: tr, LogEntries: 1, CertificateTimestamps: 1,
		Issuer: anchored(t, `^https://token\.actions\.githubusercontent\.com$`), Subject: anchored(t, "^https://github.com/acme/.+$")})
	provenAt(t, attest.Verify(d.sign(leaf, payload).attachment(t), artifact, []attest.Authority{expressions}, later), minute, "gha")

	// The same subject of another issuer is somebody else.
	open := keyless(t, attest.KeylessConfig{Root: tr, LogEntries: 1, CertificateTimestamps: 1, Issuer: anchored(t, "^https://.*$")})
	ours := attest.Verify(d.sign(leaf, payload).attachment(t), artifact, []attest.Authority{open}, later)
	others := attest.Verify(d.sign(d.leaf(identified("https://accounts.example.com", subject), d.ctKey), payload).attachment(t), artifact, []attest.Authority{open}, later)
	provenAt(t, others, minute, "gha")
	if ours.Signers[0].KeyID == others.Signers[0].KeyID {
		t.Error("two identities of one id")
	}

	// Timestamps instead of a log, and both: the earliest is the time.
	stamped := d.sign(leaf, payload)
	stamped.entries, stamped.stamps = nil, [][]byte{d.stamp(d.tsa, stamped.sig, minute.Add(time.Second))}
	byStamp := keyless(t, attest.KeylessConfig{Root: tr, Timestamps: 1, CertificateTimestamps: 1})
	provenAt(t, attest.Verify(stamped.attachment(t), artifact, []attest.Authority{byStamp}, later), minute.Add(time.Second), "gha")
	both := d.sign(leaf, payload)
	both.stamps = stamped.stamps
	both.stamps = [][]byte{d.stamp(d.tsa, both.sig, minute.Add(-time.Second))}
	provenAt(t, attest.Verify(both.attachment(t), artifact, []attest.Authority{byStamp}, later), minute.Add(-time.Second), "gha")

	// Two logs, two certificate logs.
	twice := d.sign(d.leaf(identified(issuer, subject), d.ctKey, d.ctKey2), payload)
	twice.entries = append(twice.entries, d.recordBundle(d.log2, twice, minute.Add(time.Second)))
	two := keyless(t, attest.KeylessConfig{Root: tr, LogEntries: 2, CertificateTimestamps: 2})
	provenAt(t, attest.Verify(twice.attachment(t), artifact, []attest.Authority{two}, later), minute, "gha")
}

func anchored(t testing.TB, expression string) attest.Match {
	t.Helper()
	m, err := attest.Anchored(expression)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Evidence 1, 8, 9 and 10: what a keyless bundle must not get past.
func TestVerifyKeylessRefuses(t *testing.T) {
	d := newDeployment(t)
	stranger := newDeployment(t)
	minute := noon().Add(time.Minute)
	good := identified(issuer, subject)
	leaf := d.leaf(good, d.ctKey)
	payload := mustJSON(t, statement())
	one := attest.KeylessConfig{LogEntries: 1, CertificateTimestamps: 1}
	with := func(change func(*signedBundle)) func() attest.Attachment {
		return func() attest.Attachment {
			b := d.sign(leaf, payload)
			change(b)
			return b.attachment(t)
		}
	}
	by := func(leaf *authorityCA) func() attest.Attachment {
		return func() attest.Attachment { return d.sign(leaf, payload).attachment(t) }
	}
	spoilt := func(change func(bundle, material object)) func() attest.Attachment {
		return func() attest.Attachment {
			o := d.sign(leaf, payload).object()
			change(o, o["verificationMaterial"].(object))
			return asBundle(mustJSON(t, o))
		}
	}
	other := statement()
	other["predicate"] = object{"n": 2}
	elsewhere := d.sign(leaf, mustJSON(t, other))
	for _, tt := range []struct {
		name   string
		att    func() attest.Attachment
		config attest.KeylessConfig
		want   string
	}{
		{"another issuer", by(d.leaf(identified("https://accounts.example.com", subject), d.ctKey)), one, `by the issuer "https://accounts.example.com"`},
		{"another subject", by(d.leaf(identified(issuer, "https://github.com/evil/app"), d.ctKey)), one, `is of "https://github.com/evil/app"; it must be of "` + subject},
		{"a subject with more behind", by(d.leaf(identified(issuer, subject+"-evil"), d.ctKey)), one, "-evil"},
		{"an email where a URI is meant", by(d.leaf(identified(issuer, "release@example.com"), d.ctKey)), one, `is of "release@example.com"`},
		{"two subjects", by(d.leaf(func(c *x509.Certificate) { good(c); c.EmailAddresses = []string{"a@b.c"} }, d.ctKey)), one, "names 2 subjects"},
		{"two URIs", by(d.leaf(func(c *x509.Certificate) { good(c); c.URIs = append([]*url.URL{{Scheme: "x", Host: "y"}}, c.URIs...) }, d.ctKey)), one, "names 2 subjects"},
		{"no issuer", by(d.leaf(func(c *x509.Certificate) { good(c); c.ExtraExtensions = nil }, d.ctKey)), one, "does not say who issued"},
		{"no subject", by(d.leaf(func(c *x509.Certificate) { good(c); c.URIs = nil }, d.ctKey)), one, "identity cannot be read"},
		{"another CA", func() attest.Attachment { return d.sign(stranger.leaf(good, d.ctKey), payload).attachment(t) }, one, `does not verify at`},
		{"self-signed", by(issue(t, nil, newKey(t), good)), one, "does not verify at"},
		{"no code signing", by(d.leaf(func(c *x509.Certificate) { good(c); c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, d.ctKey)), one, "does not verify at"},
		{"no SCT", by(d.leaf(good)), one, "signed certificate timestamps do not verify"},
		{"SCT of an unknown log", by(d.leaf(good, stranger.ctKey)), one, "signed certificate timestamps do not verify"},
		{"one SCT twice", by(d.leaf(good, d.ctKey, d.ctKey)), attest.KeylessConfig{LogEntries: 1, CertificateTimestamps: 2}, "only able to verify 1 SCT"},
		{"no entry", with(func(b *signedBundle) { b.entries = nil }), one, "it has 0 log entries; 1 are asked for"},
		{"entry about another", with(func(b *signedBundle) { b.entries = elsewhere.entries }), one, "log entry 0 of the bundle: it is about something else"},
		{"entry of the same payload by another", with(func(b *signedBundle) {
			b.entries = d.sign(d.leaf(good, d.ctKey), payload).entries
		}), one, "transparency log signature does not match"},
		{"entry of an unknown log", with(func(b *signedBundle) { b.entries = []logged{d.recordBundle(d.other, b, minute)} }), one, "not enough verified log entries from transparency log: 0 < 1"},
		{"one log twice", with(func(b *signedBundle) {
			b.entries = append(b.entries, d.recordBundle(d.log, b, minute.Add(time.Second)))
		}), attest.KeylessConfig{LogEntries: 2, CertificateTimestamps: 1}, "not enough verified log entries from transparency log: 1 < 2"},
		{"one entry twice", with(func(b *signedBundle) { b.entries = append(b.entries, b.entries[0]) }), attest.KeylessConfig{LogEntries: 2}, "duplicate tlog entries"},
		{"a promise that is changed", spoilt(func(_, m object) {
			m["tlogEntries"].([]any)[0].(object)["integratedTime"] = noon().Add(2 * time.Minute).Unix()
		}), one, "not enough verified log entries"},
		{"a proof that is changed", spoilt(func(_, m object) {
			m["tlogEntries"].([]any)[0].(object)["inclusionProof"].(object)["rootHash"] = make([]byte, 32)
		}), one, "log entries do not verify"},
		{"v0.3 without a proof", spoilt(func(_, m object) { delete(m["tlogEntries"].([]any)[0].(object), "inclusionProof") }), one, "inclusion proof missing"},
		{"a proof without a promise proves no time", spoilt(func(_, m object) { delete(m["tlogEntries"].([]any)[0].(object), "inclusionPromise") }), one, "no log or timestamp authority proves when"},
		{"logged before the certificate", with(func(b *signedBundle) { b.entries = []logged{d.recordBundle(d.log, b, noon().Add(-time.Minute))} }), one, "outside certificate validity"},
		{"logged after the certificate", with(func(b *signedBundle) { b.entries = []logged{d.recordBundle(d.log, b, noon().Add(time.Hour))} }), one, "outside certificate validity"},
		{"stamped after the certificate", with(func(b *signedBundle) {
			b.stamps = [][]byte{d.stamp(d.tsa, b.sig, noon().Add(time.Hour))}
		}), attest.KeylessConfig{Timestamps: 1}, "when it signed"},
		{"untrusted timestamp authority", with(func(b *signedBundle) { b.stamps = [][]byte{stranger.stamp(stranger.tsa, b.sig, minute)} }), attest.KeylessConfig{Timestamps: 1}, "it has 0 verified timestamps; 1 are asked for"},
		{"a timestamp over something else", with(func(b *signedBundle) { b.stamps = [][]byte{d.stamp(d.tsa, []byte("x"), minute)} }), attest.KeylessConfig{Timestamps: 1}, "it has 0 verified timestamps"},
		{"one timestamp authority twice", with(func(b *signedBundle) {
			b.stamps = [][]byte{d.stamp(d.tsa, b.sig, minute), d.stamp(d.tsa, b.sig, minute.Add(time.Second))}
		}), attest.KeylessConfig{Timestamps: 2}, "it has 1 verified timestamps; 2 are asked for"},
		{"garbage for a timestamp", with(func(b *signedBundle) { b.stamps = [][]byte{[]byte("stamp")} }), attest.KeylessConfig{Timestamps: 1}, "0 verified timestamps"},
		{"signed with a key", with(func(b *signedBundle) { *b = *d.sign(plainKey(newKey(t)), payload) }), one, "it is not signed with a certificate of gha, but with a key"},
		{"another's certificate", with(func(b *signedBundle) { b.signer = d.leaf(good, d.ctKey) }), one, "the key of its certificate does not verify it"},
		{"bare key as certificate", spoilt(func(_, m object) { m["certificate"] = object{"rawBytes": leaf.RawSubjectPublicKeyInfo} }), one, "bare public key"},
		{"v0.3 with too long a chain", with(func(b *signedBundle) {
			for range 20 {
				b.chain = append(b.chain, d.rootCA)
			}
		}), one, "brings 21 certificates, the limit is 16"},
		{"changed payload", spoilt(func(b, _ object) { b["dsseEnvelope"].(object)["payload"] = mustJSON(t, other) }), one, "about something else"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := tt.config
			config.Root = d.trustedRoot(func(p *parts) {
				if config.Timestamps > 1 {
					p.stamps = append(p.stamps, &root.SigstoreTimestampingAuthority{Root: stranger.tsaCA.Certificate, URI: "https://tsa2.example.com", ValidityPeriodStart: noon().AddDate(-1, 0, 0)})
				}
			})
			refused(t, attest.Verify(tt.att(), artifact, []attest.Authority{keyless(t, config)}, noon().Add(time.Hour)), tt.want)
		})
	}
	// Evidence 1 and 9: another artifact; the certificate where a key is asked.
	trusted := []attest.Authority{keyless(t, attest.KeylessConfig{Root: d.trustedRoot(nil), LogEntries: 1, CertificateTimestamps: 1})}
	att := d.sign(leaf, payload).attachment(t)
	refused(t, attest.Verify(att, digest.FromString("other"), trusted, minute), "is about "+artifact.String())
	refused(t, attest.Verify(att, artifact, []attest.Authority{authority(t, "ci", leaf.key)}, minute), "it is not signed with a key of ci, but with a certificate")
	both := append([]attest.Authority{authority(t, "ci", leaf.key)}, trusted...)
	provenAt(t, attest.Verify(att, artifact, both, minute), minute, "gha")
}

// Rekor's second version has no promise, and so no time: a timestamp has to give it.
func TestVerifyRekorV2(t *testing.T) {
	d := newDeployment(t)
	payload := mustJSON(t, statement())
	entity, err := d.log.AttestHashedRekordV2("release@example.com", issuer, payload)
	if err != nil {
		t.Fatal(err)
	}
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
	b := &signedBundle{version: attest.MediaTypeBundle, signer: &authorityCA{Certificate: content.Certificate()}, payload: payload, sig: sig.Signature(), stamps: stamps}
	e := entries[0].TransparencyLogEntry()
	entry := object{
		"logIndex": e.GetLogIndex(), "logId": object{"keyId": e.GetLogId().GetKeyId()}, "integratedTime": e.GetIntegratedTime(),
		"kindVersion": object{"kind": "hashedrekord", "version": "0.0.2"}, "canonicalizedBody": e.GetCanonicalizedBody(),
		"inclusionProof": object{"logIndex": "0", "treeSize": "1", "rootHash": e.GetInclusionProof().GetRootHash(), "hashes": []any{},
			"checkpoint": object{"envelope": e.GetInclusionProof().GetCheckpoint().GetEnvelope()}},
	}
	bundle := b.object()
	bundle["verificationMaterial"].(object)["tlogEntries"] = []any{entry}
	pinned := d.trustedRoot(func(p *parts) {
		p.authorities, p.stamps = d.log.FulcioCertificateAuthorities(), d.log.TimestampingAuthorities()
	})
	config := attest.KeylessConfig{Root: pinned, Subject: attest.Exactly("release@example.com"), LogEntries: 1, Timestamps: 1}
	ev := attest.Verify(asBundle(mustJSON(t, bundle)), artifact, []attest.Authority{keyless(t, config)}, noon())
	if age := time.Since(ev.SignedAt); !ev.Verified() || age < 0 || age > time.Minute {
		t.Errorf("got %+v", ev)
	}
	// Without the timestamp nothing says when.
	delete(bundle["verificationMaterial"].(object), "timestampVerificationData")
	config.Timestamps = 0
	refused(t, attest.Verify(asBundle(mustJSON(t, bundle)), artifact, []attest.Authority{keyless(t, config)}, noon()), "no log or timestamp authority proves when")
	// An entry about another artifact.
	other := statement()
	other["predicate"] = object{}
	bundle["dsseEnvelope"].(object)["payload"] = mustJSON(t, other)
	refused(t, attest.Verify(asBundle(mustJSON(t, bundle)), artifact, []attest.Authority{keyless(t, config)}, noon()), "about something else")
}

func TestAnchored(t *testing.T) {
	for expression, good := range map[string]bool{
		"^a$": true, "^(a|b)$": true, `^https://github\.com/acme/.*$`: true, "^(?i:a)$": true, `\Aa\z`: true, "^a{2,3}$": true,
		"a": false, "^a": false, "a$": false, "^a|b$": false, "^a$|b": false, "a|^b$": false, "(?m)^a$": false, `^a\$`: false,
		"": false, ".*": false, "^a$b": false, "(": false, "^a$|^b$": false, "^(a$|b)": false,
	} {
		m, err := attest.Anchored(expression)
		if good != (err == nil) {
			t.Errorf("%q: %v", expression, err)
		}
		if err == nil && m.String() != expression {
			t.Errorf("%q is written %q", expression, m)
		}
	}
}

func TestNewKeylessRefuses(t *testing.T) {
	d := newDeployment(t)
	full := d.trustedRoot(nil)
	good := attest.KeylessConfig{Root: full, Issuer: attest.Exactly("i"), Subject: attest.Exactly("s"), LogEntries: 1}
	for want, change := range map[string]func(*attest.KeylessConfig){
		"an issuer and a subject":         func(c *attest.KeylessConfig) { c.Issuer = attest.Match{} },
		"an issuer and a subject are":     func(c *attest.KeylessConfig) { c.Subject = attest.Exactly("") },
		"nothing else proves when":        func(c *attest.KeylessConfig) { c.LogEntries = 0 },
		"negative":                        func(c *attest.KeylessConfig) { c.CertificateTimestamps = -1 },
		"3 log entries are required":      func(c *attest.KeylessConfig) { c.LogEntries = 3 },
		"2 timestamps are required":       func(c *attest.KeylessConfig) { c.Timestamps = 2 },
		"3 signed certificate timestamps": func(c *attest.KeylessConfig) { c.CertificateTimestamps = 3 },
		"no certificate authority":        func(c *attest.KeylessConfig) { c.Root = d.trustedRoot(func(p *parts) { p.authorities = nil }) },
		"1 log entries are required":      func(c *attest.KeylessConfig) { c.Root = d.trustedRoot(func(p *parts) { p.logs = nil }) },
	} {
		config := good
		change(&config)
		if _, err := attest.NewKeyless(config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
