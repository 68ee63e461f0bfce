package policy

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// maxKeySize bounds a key file, in bytes.
const maxKeySize = 64 << 10

// authorities checks the authorities and inlines their keys.
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
		if a.Notary != nil {
			authorities = append(authorities, attest.Authority{Name: a.Name, Principal: a.Principal, Notary: l.notary(path, a)})
			continue
		}
		key := l.key(path+".key", &a.Key)
		key.NotBefore = l.time(path+".notBefore", &a.NotBefore)
		key.NotAfter = l.time(path+".notAfter", &a.NotAfter)
		if !key.NotAfter.IsZero() && !key.NotAfter.After(key.NotBefore) {
			l.add(path+".notAfter", "is not after notBefore: the key would never count")
		}
		if other, ok := owner[key.ID]; ok && key.ID != "" && other.Principal != a.Principal {
			l.warnings = append(l.warnings, fmt.Sprintf("%s: %s and %s have one key: they count once towards a threshold; give them one principal if they are one", path, other.Name, a.Name))
		}
		owner[key.ID] = *a
		authorities = append(authorities, attest.Authority{Name: a.Name, Principal: a.Principal, Keys: []attest.Key{key}})
	}
	return authorities
}

// key reads a key and writes it back inlined and in one form, so that neither a file nor
// the spelling of the PEM matters to the policy's digest.
func (l *loader) key(path string, spec *KeySpec) attest.Key {
	var text []byte
	switch {
	case spec.File != "" && spec.PEM != "":
		l.add(path, "names a file and a pem: want one of them")
		return attest.Key{}
	case spec.PEM != "":
		text, path = []byte(spec.PEM), path+".pem"
	case spec.File == "":
		l.add(path, "is missing: name the file of a public key, or its pem")
		return attest.Key{}
	case l.read == nil:
		l.add(path+".file", "%q: files cannot be read here, give the key's pem", spec.File)
		return attest.Key{}
	default:
		path += ".file"
		var err error
		if text, err = l.read(spec.File); err != nil {
			l.add(path, "read %q: %v", spec.File, err)
			return attest.Key{}
		}
	}
	if len(text) > maxKeySize {
		l.add(path, "has %d bytes, at most %d are allowed for a key", len(text), maxKeySize)
		return attest.Key{}
	}
	key, err := attest.ParsePublicKey(text)
	if err != nil {
		l.add(path, "is no public key in PEM: %v", err)
		return attest.Key{}
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public)
	if err != nil {
		l.add(path, "cannot be written as PEM: %v", err)
		return attest.Key{}
	}
	*spec = KeySpec{PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
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
			signers = append(signers, attest.Signer{Authority: name, Principal: authorities[k].Principal, KeyID: nominalKey(authorities[k])})
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
