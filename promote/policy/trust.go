package policy

import (
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// KeylessSpec is the identities of a Sigstore deployment that are an authority.
type KeylessSpec struct {
	TrustedRoot RootSpec `json:"trustedRoot" yaml:"trustedRoot"`
	// Issuer is the OpenID Connect issuer that vouches for the identity, Subject the
	// identity: the URI or email in the certificate. Each is given exactly or as an
	// expression that is anchored with ^ and $.
	Issuer        string `json:"issuer,omitempty" yaml:"issuer"`
	IssuerRegExp  string `json:"issuerRegExp,omitempty" yaml:"issuerRegExp"`
	Subject       string `json:"subject,omitempty" yaml:"subject"`
	SubjectRegExp string `json:"subjectRegExp,omitempty" yaml:"subjectRegExp"`
	// From how many transparency logs, timestamp authorities and certificate logs there
	// have to be proofs. By default 1, 0 and 1.
	LogEntries                  int `json:"logEntries" yaml:"logEntries"`
	Timestamps                  int `json:"timestamps" yaml:"timestamps"`
	SignedCertificateTimestamps int `json:"signedCertificateTimestamps" yaml:"signedCertificateTimestamps"`
}

// X509Spec is the certificates of authorities of one's own that are an authority. At least
// one name is needed; of each kind that is given, the certificate has to have one.
type X509Spec struct {
	Roots         KeySpec  `json:"roots" yaml:"roots"`
	Intermediates *KeySpec `json:"intermediates,omitempty" yaml:"intermediates"`

	Emails        []string `json:"emails,omitempty" yaml:"emails"`
	EmailRegExp   string   `json:"emailRegExp,omitempty" yaml:"emailRegExp"`
	URIs          []string `json:"uris,omitempty" yaml:"uris"`
	URIRegExp     string   `json:"uriRegExp,omitempty" yaml:"uriRegExp"`
	DNSNames      []string `json:"dnsNames,omitempty" yaml:"dnsNames"`
	DNSNameRegExp string   `json:"dnsNameRegExp,omitempty" yaml:"dnsNameRegExp"`
	// Subject is the distinguished name as RFC 2253 writes it: CN=Release,O=acme.
	Subject       string `json:"subject,omitempty" yaml:"subject"`
	SubjectRegExp string `json:"subjectRegExp,omitempty" yaml:"subjectRegExp"`

	// ExtendedKeyUsage is what the certificate has to be for: codeSigning (the default),
	// emailProtection or clientAuth.
	ExtendedKeyUsage string          `json:"extendedKeyUsage" yaml:"extendedKeyUsage"`
	Timestamps       *TimestampsSpec `json:"timestamps,omitempty" yaml:"timestamps"`
}

// TimestampsSpec is what proves when an authority signed: the logs and timestamp
// authorities of a trusted root, or timestamp authorities under roots in PEM.
type TimestampsSpec struct {
	TrustedRoot *RootSpec `json:"trustedRoot,omitempty" yaml:"trustedRoot"`
	Roots       *KeySpec  `json:"roots,omitempty" yaml:"roots"`
	Threshold   int       `json:"threshold" yaml:"threshold"` // 1 by default
}

// RootSpec is a Sigstore trusted root in JSON, inlined or in a file. Load replaces a file
// by its content.
type RootSpec struct {
	File string `json:"file,omitempty" yaml:"file"`
	JSON string `json:"json,omitempty" yaml:"json"`
}

func (l *loader) keyless(path string, spec *KeylessSpec) *attest.Keyless {
	if !l.has(path + ".logEntries") {
		spec.LogEntries = 1
	}
	if !l.has(path + ".signedCertificateTimestamps") {
		spec.SignedCertificateTimestamps = 1
	}
	config := attest.KeylessConfig{
		Root:       l.trustedRoot(path+".trustedRoot", &spec.TrustedRoot),
		LogEntries: spec.LogEntries, Timestamps: spec.Timestamps, CertificateTimestamps: spec.SignedCertificateTimestamps,
	}
	var issuer, subject bool
	config.Issuer, issuer = l.match(path, "issuer", spec.Issuer, spec.IssuerRegExp)
	config.Subject, subject = l.match(path, "subject", spec.Subject, spec.SubjectRegExp)
	if config.Root == nil || !issuer || !subject {
		return nil
	}
	keyless, err := attest.NewKeyless(config)
	if err != nil {
		l.add(path, "%v", err)
	}
	return keyless
}

// match reads a name that is given exactly or as an expression, one of which there has to be.
func (l *loader) match(path, name, exact, expression string) (attest.Match, bool) {
	switch {
	case exact == "" && expression == "":
		l.add(path+"."+name, "is missing: give it, or %sRegExp", name)
		return attest.Match{}, false
	case exact != "" && expression != "":
		l.add(path+"."+name, "is there beside %sRegExp: want one of them", name)
		return attest.Match{}, false
	case exact != "":
		return attest.Exactly(exact), true
	}
	return l.pattern(path+"."+name+"RegExp", expression)
}

func (l *loader) pattern(path, expression string) (attest.Match, bool) {
	if len(expression) > maxPattern {
		l.add(path, "has %d characters, at most %d are allowed", len(expression), maxPattern)
		return attest.Match{}, false
	}
	m, err := attest.Anchored(expression)
	if err != nil {
		l.add(path, "%q %v", expression, err)
	}
	return m, err == nil
}

// maxPattern and maxNames bound what each attestation is compared with.
const (
	maxPattern = 1 << 10
	maxNames   = 100
)

func (l *loader) x509(path string, spec *X509Spec) *attest.X509 {
	good := len(l.errs)
	config := attest.X509Config{
		Roots:      l.certificates(path+".roots", &spec.Roots),
		Emails:     l.matches(path, "emails", spec.Emails, "emailRegExp", spec.EmailRegExp),
		URIs:       l.matches(path, "uris", spec.URIs, "uriRegExp", spec.URIRegExp),
		DNSNames:   l.matches(path, "dnsNames", spec.DNSNames, "dnsNameRegExp", spec.DNSNameRegExp),
		Timestamps: l.timestamps(path+".timestamps", spec.Timestamps),
	}
	if spec.Intermediates != nil {
		config.Intermediates = l.certificates(path+".intermediates", spec.Intermediates)
	}
	if spec.Subject != "" || spec.SubjectRegExp != "" {
		if m, ok := l.match(path, "subject", spec.Subject, spec.SubjectRegExp); ok {
			config.Subjects = []attest.Match{m}
		}
	}
	usages := map[string]x509.ExtKeyUsage{
		"codeSigning": x509.ExtKeyUsageCodeSigning, "emailProtection": x509.ExtKeyUsageEmailProtection, "clientAuth": x509.ExtKeyUsageClientAuth,
	}
	if !l.has(path + ".extendedKeyUsage") {
		spec.ExtendedKeyUsage = "codeSigning"
	}
	usage, ok := usages[spec.ExtendedKeyUsage]
	if !ok {
		l.add(path+".extendedKeyUsage", "is %q, want %s", spec.ExtendedKeyUsage, strings.Join(slices.Sorted(maps.Keys(usages)), ", "))
	}
	config.Usage = usage
	if len(l.errs) > good {
		return nil
	}
	own, err := attest.NewX509(config)
	if err != nil {
		l.add(path, "%v", err)
	}
	return own
}

// matches reads names of one kind, any of which will do.
func (l *loader) matches(path, name string, exact []string, expressionName, expression string) []attest.Match {
	if len(exact) > maxNames {
		l.add(path+"."+name, "has %d names, at most %d are allowed", len(exact), maxNames)
		return nil
	}
	if l.has(path+"."+name) && len(exact) == 0 {
		l.add(path+"."+name, "is empty: leave it out where any will do")
	}
	var all []attest.Match
	for i, text := range exact {
		if slices.Contains(exact[:i], text) {
			l.add(fmt.Sprintf("%s.%s[%d]", path, name, i), "%q stands there twice", text)
		}
		all = append(all, attest.Exactly(text))
	}
	if expression != "" {
		if m, ok := l.pattern(path+"."+expressionName, expression); ok {
			all = append(all, m)
		}
	}
	return all
}

func (l *loader) timestamps(path string, spec *TimestampsSpec) *attest.Timestamps {
	if spec == nil {
		return nil
	}
	if !l.has(path + ".threshold") {
		spec.Threshold = 1
	}
	var root *attest.TrustedRoot
	switch {
	case (spec.TrustedRoot == nil) == (spec.Roots == nil):
		l.add(path, "wants a trustedRoot, or roots of timestamp authorities")
		return nil
	case spec.TrustedRoot != nil:
		root = l.trustedRoot(path+".trustedRoot", spec.TrustedRoot)
	default:
		certificates := l.certificates(path+".roots", spec.Roots)
		if certificates == nil {
			return nil
		}
		var err error
		if root, err = attest.TimestampRoots(certificates); err != nil {
			l.add(path+".roots", "%v", err)
		}
	}
	if root == nil {
		return nil
	}
	_, logs, stamps, _ := root.Counts()
	if spec.Threshold < 1 || spec.Threshold > logs+stamps {
		l.add(path+".threshold", "is %d, want at least 1 and at most %d, as there are %d logs and %d timestamp authorities", spec.Threshold, logs+stamps, logs, stamps)
		return nil
	}
	return &attest.Timestamps{Root: root, Threshold: spec.Threshold}
}
