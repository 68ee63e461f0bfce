package attest_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// What proves the time of signing, and what does not.
func TestNotaryTimes(t *testing.T) {
	p := newPKI(t)
	tsaRoot := newNotaryCA(t, "tsa root", nil)
	then := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	tsa := newTSA(t, tsaRoot, then)
	foreign := newTSA(t, newNotaryCA(t, "tsa root", nil), then)
	old := newLeaf(t, p.ca, "release", newKey(t), year(2025))
	withTSA := p.with(func(n *attest.Notary) { n.TimestampRoots = tsaRoot.chain })
	authority := p.with(func(n *attest.Notary) { n.SigningAuthorities = p.root.chain })
	at := func(when time.Time, more ...func(*signRequest)) func(*signRequest) {
		return func(r *signRequest) {
			r.SigningTime = when
			for _, change := range more {
				change(r)
			}
		}
	}
	from := func(tsa *authorityOfTime, when time.Time, accuracy time.Duration) func(*signRequest) {
		other := *tsa
		other.at, other.accuracy = when, accuracy
		return at(then, stamped(&other))
	}
	token := func(tsa *authorityOfTime) func(attest.Attachment) attest.Attachment {
		return withTimestamp(t, p, func(signature []byte) []byte { return tsa.token(t, signature) })
	}
	crowded, misused := *tsa, newTSA(t, tsaRoot, then, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement })
	for range 10 {
		crowded.more = append(crowded.more, tsaRoot.cert())
	}
	weak := newTSA(t, weakCA(t), then)
	late := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	refuseNotary(t, p, []notaryCase{
		{name: "expired certificate", signer: &old, sign: at(then), want: `"CN=release,O=acme,ST=WA,C=US" expired at 2026-01-01T00:00:00Z, and nothing proves that it was signed before`},
		{name: "expired certificate, timestamp that nobody trusts", signer: &old, sign: at(then, stamped(tsa)), want: "and nothing proves that it was signed before"},
		{name: "expired certificate with timestamp", signer: &old, sign: at(then, stamped(tsa)), trust: withTSA, want: ""},
		{name: "no timestamp", signer: &old, sign: at(then), trust: withTSA, want: "it has no timestamp"},
		{name: "no timestamp of a valid certificate", trust: withTSA, want: "it has no timestamp"},
		{name: "timestamp after expiry", signer: &old, sign: from(tsa, late.Add(time.Second), 0), trust: withTSA, want: "expired at 2026-01-01T00:00:00Z, and it was signed at 2026-01-01T00:00:01Z"},
		{name: "timestamp that may be after expiry", signer: &old, sign: from(tsa, late.Add(-time.Second), 2*time.Second), trust: withTSA, want: "expired at 2026-01-01T00:00:00Z"},
		{name: "timestamp before the certificate", signer: &old, sign: from(tsa, then.AddDate(-1, 0, 0), 0), trust: withTSA, want: "is not valid before 2025-01-01T00:00:00Z, and it was signed at"},
		{name: "timestamp of a stranger", signer: &old, sign: at(then, stamped(foreign)), trust: withTSA, want: "not of a timestamp authority in timestampRoots"},
		{name: "timestamp of the future", sign: from(tsa, noon().Add(time.Hour), 0), trust: withTSA, want: "which is in the future"},
		{name: "accuracy of days", sign: from(tsa, then, 48*time.Hour), trust: withTSA, want: "accuracy makes no sense"},
		{name: "timestamp is junk", att: junkTimestamp(t, p), trust: withTSA, want: "its timestamp does not count"},
		{name: "timestamp made by hand", att: token(tsa), trust: withTSA, want: ""},
		{name: "timestamp with a weak key", att: token(weak), trust: withTSA, want: "the RSA key has 1024 bits"},
		{name: "timestamp with many certificates", att: token(&crowded), trust: withTSA, want: "the limit is 10"},
		{name: "timestamp by a certificate for more", att: token(misused), trust: withTSA, want: "its certificates: "},
		{name: "timestamp over something else", att: movedTimestamp(t, p, tsa), trust: withTSA, want: "it is not of this signature"},
		{name: "authority in time", signer: &old, sign: at(then, asAuthority), trust: authority, want: ""},
		{name: "authority after expiry", signer: &old, sign: at(late.AddDate(0, 0, -1), asAuthority), trust: authority, now: noon(), want: ""},
		{name: "authority of the future", sign: at(noon().Add(time.Hour), asAuthority), trust: authority, want: "which is in the future"},
	})

	for _, format := range notaryFormats() {
		att := notarySign(t, format, old, at(then, stamped(tsa)))
		if ev := attest.Verify(att, artifact, trusting(withTSA), noon()); !ev.SignedAt.Equal(then) {
			t.Errorf("%s: signed at %v", format, ev.SignedAt)
		}
		current := notarySign(t, format, p.ec, at(then, stamped(tsa)))
		for _, trust := range [][]attest.Authority{trusting(withTSA, p.trust), trusting(p.trust, withTSA)} {
			ev := attest.Verify(current, artifact, trust, noon())
			if len(ev.Signers) != 2 || !ev.SignedAt.IsZero() {
				t.Errorf("%s: %v and signed at %v, which one of them cannot know", format, ev.Signers, ev.SignedAt)
			}
		}
		asserted := notarySign(t, format, old, at(then, asAuthority))
		if ev := attest.Verify(asserted, artifact, trusting(authority), noon()); !ev.SignedAt.Equal(then) {
			t.Errorf("%s: signed at %v", format, ev.SignedAt)
		}
	}
}

func junkTimestamp(t *testing.T, p *notaryPKI) func(attest.Attachment) attest.Attachment {
	return withTimestamp(t, p, func([]byte) []byte { return []byte{0x30, 0x03, 1, 2, 3} })
}

// movedTimestamp has a good timestamp, which another signature got.
func movedTimestamp(t *testing.T, p *notaryPKI, tsa *authorityOfTime) func(attest.Attachment) attest.Attachment {
	return withTimestamp(t, p, func([]byte) []byte {
		var envelope struct {
			Header struct {
				Timestamp []byte `json:"io.cncf.notary.timestampSignature"`
			} `json:"header"`
		}
		att := notarySign(t, attest.FormatNotaryJWS, p.ec, stamped(tsa))
		if err := json.Unmarshal(att.Content, &envelope); err != nil {
			t.Fatal(err)
		}
		return envelope.Header.Timestamp
	})
}

// withTimestamp puts a timestamp beside a signature that has none.
func withTimestamp(t *testing.T, p *notaryPKI, token func(signature []byte) []byte) func(attest.Attachment) attest.Attachment {
	return func(att attest.Attachment) attest.Attachment {
		if att.Format == attest.FormatNotaryCOSE {
			att.Content = coseTimestamp(t, att.Content, token)
			return att
		}
		var envelope object
		if err := json.Unmarshal(att.Content, &envelope); err != nil {
			t.Fatal(err)
		}
		signature, err := base64.RawURLEncoding.DecodeString(fmt.Sprint(envelope["signature"]))
		if err != nil {
			t.Fatal(err)
		}
		envelope["header"].(object)["io.cncf.notary.timestampSignature"] = token(signature)
		att.Content = mustJSON(t, envelope)
		return att
	}
}
