package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// trust is a kind of trust: what makes a signature an authority's. A kind is one type that
// implements it and one case in trustOf.
type trust interface {
	// identify names what is trusted by its content. Two that are named alike prove the
	// same of every attachment.
	identify() (string, error)
	// prove says what a parcel proves, whatever time it is asked. A signature that is not
	// of this trust is a proof with a refusal; an error says that the trust itself cannot
	// be used, and fails the attachment.
	prove(p *parcel) (proof, error)
}

// trustOf is the kind of trust that an authority has.
func trustOf(a Authority) trust {
	switch {
	case a.Keyless != nil:
		return a.Keyless
	case a.X509 != nil:
		return a.X509
	case a.Notary != nil:
		return notaryTrust{a.Notary}
	}
	return keyRing{a.Keys, a.Timestamps}
}

// proof is what an attachment proves to one kind of trust. It depends on no clock and no
// name: whether it suffices now is decided with judge.
type proof struct {
	// refusal says why the signature is none of this trust's; empty where it is one. It
	// names the authority as {authority}.
	refusal string
	// otherKind says that the signature is of another kind of trust altogether: of all
	// reasons the one of least use.
	otherKind bool

	issuer, subject string   // of a certificate
	windows         []window // the times of signing that count
	// times are when the signature verifiably existed, in order; empty where nothing
	// proves that, and unproven says why.
	times    []time.Time
	unproven string
}

// window is a time in which a signature counts, and of which key.
type window struct {
	keyID    string
	what     string    // "the key 0123… of {authority}"
	from, to time.Time // zero: no bound
}

// whoever stands for the authority in a refusal: proofs know no names. It comes before
// anything that others wrote.
const whoever = "{authority}"

func refuse(format string, args ...any) proof {
	return proof{refusal: fmt.Sprintf(format, args...)}
}

// withoutCertificate is the refusal of what a key signed, where a certificate is asked.
func withoutCertificate() proof {
	out := refuse("it is not signed with a certificate of %s, but with a key", whoever)
	out.otherKind = true
	return out
}

func naming(text string, names ...string) string {
	return strings.Replace(text, whoever, list(slices.Compact(slices.Sorted(slices.Values(names)))), 1)
}

// earliest is the first time at which the signature verifiably existed; zero where nothing
// proves one.
func (p proof) earliest() time.Time {
	if len(p.times) == 0 {
		return time.Time{}
	}
	return p.times[0].UTC()
}

// judge finds the window that the signature was made in. Verified times decide, all of
// them; where there is none, now stands for them. against says what else speaks against one.
// The text says why no window holds.
func (p proof) judge(name string, now time.Time, against func(window) string) (window, string) {
	moments := p.times
	if len(moments) == 0 {
		moments = []time.Time{now}
	}
	var outside, doubts []string
	for _, w := range p.windows {
		reason := ""
		for _, t := range moments {
			if reason = w.excludes(t, len(p.times) > 0); reason != "" {
				break
			}
		}
		if reason != "" {
			outside = append(outside, naming(w.what, name)+" "+reason)
			continue
		}
		doubt := against(w)
		if doubt == "" {
			return w, ""
		}
		doubts = append(doubts, doubt)
	}
	if len(doubts) > 0 {
		return window{}, strings.Join(slices.Compact(doubts), "; ")
	}
	if len(outside) == 0 {
		return window{}, "there is no time at which it would count"
	}
	reason := list(slices.Compact(outside))
	if len(p.times) == 0 {
		reason += ", and nothing proves when it signed"
		if p.unproven != "" {
			reason += ": " + p.unproven
		}
	}
	return window{}, reason
}

func (w window) excludes(t time.Time, proven bool) string {
	reason := ""
	switch {
	case !w.from.IsZero() && t.Before(w.from):
		reason = "is not valid before " + w.from.UTC().Format(timeFormat)
	case !w.to.IsZero() && t.After(w.to):
		reason = "expired at " + w.to.UTC().Format(timeFormat)
	}
	if reason != "" && proven {
		reason += ", and signed at " + t.UTC().Format(timeFormat)
	}
	return reason
}

// identity is the fingerprint of texts: no two lists of texts have the same.
func identity(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		fmt.Fprintf(h, "%d:%s", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))
}
