package policy

import (
	"crypto/x509"
	"encoding/pem"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// Limits of what is inlined, in bytes.
const (
	maxKeySize          = 64 << 10
	maxCertificatesSize = 256 << 10
	maxTrustedRootSize  = 256 << 10
)

// trustFile is a file that trust is read from, and what is inlined of it. An inlined form
// that is given itself is read in its place.
type trustFile struct {
	path         string // of the mapping with file and the inlined form
	file, inline string
	form         string // what the inlined form is called: pem or json
	what         string // "the file of a public key"
	limit        int
}

// content is the text, and the path that problems with it are about; empty where there is
// none, which is noted.
func (l *loader) content(in trustFile) (string, []byte) {
	path := in.path
	var text []byte
	switch {
	case in.file != "" && in.inline != "":
		l.add(path, "names a file and a %s: want one of them", in.form)
		return path, nil
	case in.inline != "":
		text, path = []byte(in.inline), path+"."+in.form
	case in.file == "":
		l.add(path, "is missing: name %s, or its %s", in.what, in.form)
		return path, nil
	case l.read == nil:
		l.add(path+".file", "%q: files cannot be read here, give its %s", in.file, in.form)
		return path, nil
	default:
		path += ".file"
		var err error
		if text, err = l.read(in.file); err != nil {
			l.add(path, "read %q: %v", in.file, err)
			return path, nil
		}
	}
	if len(text) > in.limit {
		l.add(path, "has %d bytes, at most %d are allowed", len(text), in.limit)
		return path, nil
	}
	if len(text) == 0 {
		l.add(path, "is empty")
	}
	return path, text
}

// key reads a key and writes it back inlined and in one form, so that neither a file nor
// the spelling of the PEM matters to the policy's digest.
func (l *loader) key(path string, spec *KeySpec) attest.Key {
	path, text := l.content(trustFile{path, spec.File, spec.PEM, "pem", "the file of a public key", maxKeySize})
	if len(text) == 0 {
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

// certificates reads certificates and writes them back as key does.
func (l *loader) certificates(path string, spec *KeySpec) []*x509.Certificate {
	path, text := l.content(trustFile{path, spec.File, spec.PEM, "pem", "the file of certificates", maxCertificatesSize})
	if len(text) == 0 {
		return nil
	}
	found, err := attest.ParseCertificates(text)
	if err != nil {
		l.add(path, "has no certificates in PEM: %v", err)
		return nil
	}
	*spec = KeySpec{PEM: string(attest.MarshalCertificates(found))}
	return found
}

// trustedRoot reads a trusted root and writes it back as canonical JSON.
func (l *loader) trustedRoot(path string, spec *RootSpec) *attest.TrustedRoot {
	path, text := l.content(trustFile{path, spec.File, spec.JSON, "json", "the file of a Sigstore trusted root", maxTrustedRootSize})
	if len(text) == 0 {
		return nil
	}
	root, err := attest.ParseTrustedRoot(text)
	if err != nil {
		l.add(path, "is no Sigstore trusted root: %v", err)
		return nil
	}
	*spec = RootSpec{JSON: string(root.JSON())}
	if strings.ContainsFunc(spec.JSON, isControl) { // the inlined form has to load again
		l.add(path, "has a character that does not print")
		return nil
	}
	return root
}
