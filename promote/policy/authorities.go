package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// authorities checks the authorities and inlines their trust.
func (l *loader) authorities() []attest.Authority {
	spec := &l.doc.Spec
	if len(spec.Authorities) == 0 {
		l.add("spec.authorities", "is missing: name at least one whose signature counts")
	}
	if len(spec.Authorities) > maxAuthorities {
		l.add("spec.authorities", "has %d authorities, at most %d are allowed", len(spec.Authorities), maxAuthorities)
		return nil
	}
	authorities := make([]attest.Authority, 0, len(spec.Authorities))
	seen, owner := map[string]bool{}, map[string]AuthoritySpec{}
	for i := range spec.Authorities {
		path, a := fmt.Sprintf("spec.authorities[%d]", i), &spec.Authorities[i]
		l.name(path+".name", a.Name)
		if seen[a.Name] {
			l.add(path+".name", "%q names two authorities", a.Name)
		}
		seen[a.Name] = true
		if !l.has(path + ".principal") {
			a.Principal = a.Name
		}
		authority := l.authority(path, a)
		id := signerID(authority)
		if other, ok := owner[id]; ok && id != "" && other.Principal != a.Principal {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s and %s have one %s: they count once towards a threshold; give them one principal if they are one", path, other.Name, a.Name, kindOfTrust(authority)))
		}
		owner[id] = *a
		authorities = append(authorities, authority)
	}
	return authorities
}

// authority takes over the one kind of trust that an authority has.
func (l *loader) authority(path string, a *AuthoritySpec) attest.Authority {
	out := attest.Authority{Name: a.Name, Principal: a.Principal}
	var kinds []string
	for _, kind := range []string{"key", "keyless", "x509", "notary"} {
		if l.has(path + "." + kind) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) > 1 {
		l.add(path, "has %s: an authority signs in one way, make it several of one principal", strings.Join(kinds, " and "))
		return out
	}
	if a.Key == (KeySpec{}) && (a.Keyless != nil || a.X509 != nil || a.Notary != nil) {
		for _, of := range []string{"notBefore", "notAfter", "timestamps"} {
			if l.has(path + "." + of) {
				l.add(path+"."+of, "is for a key: a certificate says itself when it is valid, and timestamps stand under x509")
			}
		}
	}
	switch {
	case a.Keyless != nil:
		out.Keyless = l.keyless(path+".keyless", a.Keyless)
	case a.X509 != nil:
		out.X509 = l.x509(path+".x509", a.X509)
	case a.Notary != nil:
		out.Notary = l.notary(path, a)
	default:
		out.Keys = []attest.Key{l.keyInTime(path, a)}
		out.Timestamps = l.timestamps(path+".timestamps", a.Timestamps)
	}
	return out
}

func (l *loader) keyInTime(path string, a *AuthoritySpec) attest.Key {
	key := l.key(path+".key", &a.Key)
	key.NotBefore = l.time(path+".notBefore", &a.NotBefore)
	key.NotAfter = l.time(path+".notAfter", &a.NotAfter)
	if !key.NotAfter.IsZero() && !key.NotAfter.After(key.NotBefore) {
		l.add(path+".notAfter", "is not after notBefore: the key would never count")
	}
	return key
}

func (l *loader) time(path string, text *string) time.Time {
	if !l.has(path) {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, *text)
	if err != nil || t.IsZero() {
		l.add(path, "is %q, want a time as 2026-01-31T00:00:00Z is", *text)
		return time.Time{}
	}
	*text = t.UTC().Format(time.RFC3339Nano)
	return t.UTC()
}

// signerID is what an authority's signatures will be counted by, where that is known
// before there is one: of a key, and of a keyless identity that is given exactly.
func signerID(a attest.Authority) string {
	switch {
	case a.Keyless != nil:
		return a.Keyless.SignerID()
	case a.X509 != nil || len(a.Keys) == 0:
		return ""
	}
	return a.Keys[0].ID
}

func kindOfTrust(a attest.Authority) string {
	if a.Keyless != nil {
		return "identity"
	}
	return "key"
}

// thresholds checks who has to sign for each requirement.
func (l *loader) thresholds(authorities []attest.Authority) {
	for i := range l.doc.Spec.Require {
		if r := &l.doc.Spec.Require[i]; !r.overAll() && r.Layout == nil {
			l.quorum(fmt.Sprintf("spec.require[%d].from", i), &r.From, authorities)
			l.notaryTypes(fmt.Sprintf("spec.require[%d]", i), r, authorities)
		}
	}
}

// quorum checks who has to sign, and how many of them.
func (l *loader) quorum(path string, from *Quorum, authorities []attest.Authority) {
	if !l.has(path + ".threshold") {
		from.Threshold = 1
	}
	if len(from.Distinct) > 0 && !strings.HasPrefix(path, "spec.require[") {
		l.add(path+".distinct", "is for requirements about builds: signers are distinct without it")
	}
	if len(from.Authorities) == 0 {
		l.add(path+".authorities", "is missing: a requirement has to ask for somebody's signature")
		return
	}
	var signers []attest.Signer
	for j, name := range from.Authorities {
		at := fmt.Sprintf("%s.authorities[%d]", path, j)
		k := slices.IndexFunc(authorities, func(a attest.Authority) bool { return a.Name == name })
		switch {
		case k < 0:
			l.add(at, "%q is no authority of this policy", name)
		case slices.Contains(from.Authorities[:j], name):
			l.add(at, "%q stands there twice", name)
		default:
			id := signerID(authorities[k])
			if id == "" {
				id = "of " + name // whoever it will be, it may be somebody else than the others
			}
			signers = append(signers, attest.Signer{Authority: name, Principal: authorities[k].Principal, KeyID: id})
		}
	}
	switch reachable := distinct(signers); {
	case from.Threshold < 1:
		l.add(path+".threshold", "is %d, want at least 1", from.Threshold)
	case from.Threshold > len(from.Authorities):
		l.add(path+".threshold", "is %d, but %s can sign at most %d times", from.Threshold, strings.Join(from.Authorities, " and "), len(from.Authorities))
	case from.Threshold > reachable:
		l.warnings = append(l.warnings, fmt.Sprintf("%s.threshold: is %d and can never be met: the authorities have %d distinct principals with distinct keys", path, from.Threshold, reachable))
	}
}
