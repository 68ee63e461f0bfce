package attest_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"

	"sluice.dev/sluice/promote/attest"
)

// Evidence 8: a key outside of its window counts where somebody who is trusted proves that
// it signed inside, and only then.
func TestVerifyKeyTimes(t *testing.T) {
	d, stranger := newDeployment(t), newDeployment(t)
	signer := newKey(t)
	payload := mustJSON(t, statement())
	roots, err := attest.TimestampRoots([]*x509.Certificate{d.tsaCA.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	minute, year := noon().Add(time.Minute), noon().AddDate(1, 0, 0)
	full := &attest.Timestamps{Root: d.trustedRoot(nil), Threshold: 1}
	logAt := func(at time.Time) func(*signedBundle) {
		return func(b *signedBundle) { b.entries = []logged{d.recordBundle(d.log, b, at)} }
	}
	stampAt := func(d *deployment, at time.Time) func(*signedBundle) {
		return func(b *signedBundle) { b.entries, b.stamps = nil, [][]byte{d.stamp(d.tsa, b.sig, at)} }
	}
	for _, tt := range []struct {
		name   string
		change func(*signedBundle)
		trust  *attest.Timestamps
		at     time.Time // proven; zero: refused
		want   string
	}{
		{"logged in time", logAt(minute), full, minute, ""},
		{"stamped in time", stampAt(d, minute), full, minute, ""},
		{"stamped, roots in PEM", stampAt(d, minute), &attest.Timestamps{Root: roots}, minute, ""},
		{"nothing trusted", logAt(minute), nil, time.Time{}, "expired at 2026-11-22T13:00:00Z, and nothing proves when it signed"},
		{"nothing brought", func(b *signedBundle) { b.entries = nil }, full, time.Time{}, "nothing proves when it signed: 0 of 1 verified times"},
		{"logged too late", logAt(noon().Add(2 * time.Hour)), full, time.Time{}, "expired at 2026-11-22T13:00:00Z, and signed at 2026-11-22T14:00:00Z"},
		{"logged too early", logAt(noon().Add(-2 * time.Hour)), full, time.Time{}, "is not valid before 2026-11-22T11:00:00Z, and signed at 2026-11-22T10:00:00Z"},
		{"stamped too late", stampAt(d, noon().Add(2*time.Hour)), full, time.Time{}, "expired at"},
		{"untrusted timestamp authority", stampAt(stranger, minute), full, time.Time{}, "0 of 1 verified times"},
		{"untrusted timestamp authority, roots in PEM", stampAt(stranger, minute), &attest.Timestamps{Root: roots}, time.Time{}, "0 of 1 verified times"},
		{"another signature's stamp", func(b *signedBundle) { b.stamps = [][]byte{d.stamp(d.tsa, []byte("x"), minute)}; b.entries = nil }, full, time.Time{}, "0 of 1 verified times"},
		{"two asked, one there", logAt(minute), &attest.Timestamps{Root: full.Root, Threshold: 2}, time.Time{}, "1 of 2 verified times"},
		{"two asked, one twice", func(b *signedBundle) {
			b.entries = []logged{d.recordBundle(d.log, b, minute), d.recordBundle(d.log, b, minute)}
		}, &attest.Timestamps{Root: full.Root, Threshold: 2}, time.Time{}, "1 of 2 verified times"},
		{"two asked and there", func(b *signedBundle) { b.stamps = [][]byte{d.stamp(d.tsa, b.sig, minute.Add(time.Second))} },
			&attest.Timestamps{Root: full.Root, Threshold: 2}, minute, ""},
		{"one in time, one too late", func(b *signedBundle) {
			b.stamps = [][]byte{d.stamp(d.tsa, b.sig, noon().Add(2*time.Hour))}
		}, full, time.Time{}, "expired at"},
		{"one too early, one in time", func(b *signedBundle) {
			b.entries, b.stamps = []logged{d.recordBundle(d.log, b, noon().Add(-2*time.Hour))}, [][]byte{d.stamp(d.tsa, b.sig, minute)}
		}, full, time.Time{}, "is not valid before"},
		{"an entry by another key", func(b *signedBundle) { b.entries = d.sign(plainKey(newKey(t)), payload).entries }, full, time.Time{}, "ci signed it, but its log entries do not verify"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			trusted := authority(t, "ci", signer)
			trusted.Keys[0].NotBefore, trusted.Keys[0].NotAfter = noon().Add(-time.Hour), noon().Add(time.Hour)
			trusted.Timestamps = tt.trust
			b := d.sign(plainKey(signer), payload)
			tt.change(b)
			ev := attest.Verify(b.attachment(t), artifact, []attest.Authority{trusted}, year)
			if !tt.at.IsZero() {
				provenAt(t, ev, tt.at, "ci")
				if ev.Signers[0].KeyID != trusted.Keys[0].ID || ev.Signers[0].Subject != "" {
					t.Errorf("got %+v", ev.Signers)
				}
				return
			}
			refused(t, ev, tt.want)
		})
	}
	// Two who trust different witnesses: the earliest time is the evidence's.
	byStamp, byLog := authority(t, "a", signer), authority(t, "b", signer)
	byStamp.Timestamps, byLog.Timestamps = &attest.Timestamps{Root: roots}, &attest.Timestamps{Root: d.trustedRoot(func(p *parts) { p.stamps = nil })}
	two := d.sign(plainKey(signer), payload)
	two.stamps = [][]byte{d.stamp(d.tsa, two.sig, minute.Add(time.Second))}
	provenAt(t, attest.Verify(two.attachment(t), artifact, []attest.Authority{byStamp, byLog}, year), minute, "a", "b")
	provenAt(t, attest.Verify(two.attachment(t), artifact, []attest.Authority{byLog, byStamp}, year), minute, "a", "b")
	// A signing time outside of the window is one, also while the key is valid.
	trusted := authority(t, "ci", signer)
	trusted.Keys[0].NotBefore, trusted.Timestamps = noon(), full
	b := d.sign(plainKey(signer), payload)
	b.entries = []logged{d.recordBundle(d.log, b, noon().Add(-time.Minute))}
	refused(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{trusted}, year), "is not valid before")
	// Not needed where the key is valid now.
	b.entries = nil
	verified(t, attest.Verify(b.attachment(t), artifact, []attest.Authority{trusted}, year), "ci")
	// cosign's .att: the whole envelope is stamped.
	trusted.Keys[0].NotAfter = noon().Add(time.Hour)
	b.stamps = [][]byte{d.stamp(d.tsa, b.envelope(t), minute)}
	provenAt(t, attest.Verify(b.annotated(t), artifact, []attest.Authority{trusted}, year), minute, "ci")
	b.stamps = [][]byte{d.stamp(d.tsa, b.sig, minute)}
	refused(t, attest.Verify(b.annotated(t), artifact, []attest.Authority{trusted}, year), "0 of 1 verified times")
}

func TestTimestampRootsRefuses(t *testing.T) {
	d := newDeployment(t)
	for want, certificates := range map[string][]*x509.Certificate{
		"not a CA's":  {d.tsaCA.Certificate, d.tsa.Certificate},
		"no root":     {d.issuing.Certificate},
		"two of its ": {d.tsaCA.Certificate, d.tsaCA.Certificate},
	} {
		if _, err := attest.TimestampRoots(certificates); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

func TestParseTrustedRoot(t *testing.T) {
	d := newDeployment(t)
	r := d.trustedRoot(nil)
	again, err := attest.ParseTrustedRoot(append([]byte("\n "), r.JSON()...))
	if err != nil || string(again.JSON()) != string(r.JSON()) {
		t.Errorf("the canonical form moved: %v", err)
	}
	if a, l, s, c := r.Counts(); a != 1 || l != 2 || s != 1 || c != 2 {
		t.Errorf("counts %d %d %d %d", a, l, s, c)
	}
	var tree object
	if err := json.Unmarshal(r.JSON(), &tree); err != nil {
		t.Fatal(err)
	}
	with := func(key string, value any) string {
		changed := maps.Clone(tree)
		changed[key] = value
		return string(mustJSON(t, changed))
	}
	log := tree["tlogs"].([]any)[0].(object)
	renamed := maps.Clone(log)
	renamed["logId"] = object{"keyId": []byte("another name of the same key")}
	weak := maps.Clone(log)
	weak["publicKey"] = object{"rawBytes": pkixOf(t, &newRSA(t, 1024).(*rsa.PrivateKey).PublicKey), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": object{"start": "2026-01-01T00:00:00Z"}}
	tsa := tree["timestampAuthorities"].([]any)[0]
	for name, tt := range map[string]struct{ text, want string }{
		"no JSON":                 {"root", "not strict JSON"},
		"trailing bytes":          {string(r.JSON()) + "{}", "not strict JSON"},
		"duplicate keys":          {strings.Replace(string(r.JSON()), "{", `{"tlogs":[],`, 1), "not strict JSON"},
		"media type":              {with("mediaType", "application/json"), "media type"},
		"unknown key":             {with("x", 1), "unknown field"},
		"one log, two names":      {with("tlogs", []any{log, renamed}), "two of its entries are of one log"},
		"one ct log, two names":   {with("ctlogs", []any{log, renamed}), "two of its entries are of one certificate log"},
		"one TSA twice":           {with("timestampAuthorities", []any{tsa, tsa}), "two of its entries are of one timestamp authority"},
		"a key of another kind":   {with("tlogs", []any{weak}), "not ECDSA"},
		"a leaf for an authority": {with("certificateAuthorities", []any{object{"certChain": object{"certificates": []any{object{"rawBytes": d.tsa.Raw}}}}}), "not a CA's"},
		"a leaf for a TSA":        {with("timestampAuthorities", []any{object{"certChain": object{"certificates": []any{object{"rawBytes": d.tsa.Raw}}}}}), "not a CA's"},
		"garbage for a CA":        {with("certificateAuthorities", []any{object{"certChain": object{"certificates": []any{object{"rawBytes": "AAAA"}}}}}), "parse trusted root"},
	} {
		if _, err := attest.ParseTrustedRoot([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, tt.want)
		}
	}
	if _, err := root.NewTrustedRootFromJSON(r.JSON()); err != nil {
		t.Errorf("sigstore-go does not read it: %v", err)
	}
}

func pkixOf(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
