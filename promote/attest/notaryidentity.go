package attest

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// identityPrefix begins an identity; the specification knows no other kind.
const identityPrefix = "x509.subject:"

// anyIdentity is written where the trust store alone decides.
const anyIdentity = "*"

// NotaryIdentity says which certificates of a trust store may sign: those whose subject has
// all the attributes of the identity, each with exactly its value.
type NotaryIdentity struct {
	text string
	want map[string]string // by attribute type, in upper case; nil where any subject will do
}

// ParseNotaryIdentity reads an identity as the trust policy specification writes it:
// "x509.subject: C=US, ST=WA, O=acme, CN=release". Country, state and organization must be
// among the attributes. "*" stands for every subject.
func ParseNotaryIdentity(text string) (NotaryIdentity, error) {
	if text == anyIdentity {
		return NotaryIdentity{text: text}, nil
	}
	name, ok := strings.CutPrefix(text, identityPrefix)
	if !ok {
		return NotaryIdentity{}, fmt.Errorf("want %s C=…, ST=…, O=… and further attributes", identityPrefix)
	}
	if strings.Contains(name, "=#") {
		return NotaryIdentity{}, errors.New("values in hex, behind =#, are not supported")
	}
	dn, err := ldap.ParseDN(name)
	if err != nil {
		return NotaryIdentity{}, fmt.Errorf("no distinguished name as RFC 4514 writes it: %w", err)
	}
	want := map[string]string{}
	for _, rdn := range dn.RDNs {
		if len(rdn.Attributes) != 1 {
			return NotaryIdentity{}, errors.New("attributes joined with + are not supported")
		}
		kind, value := attributeName(rdn.Attributes[0].Type), rdn.Attributes[0].Value
		if oid := attributeOIDs()[kind]; oid == "" {
			return NotaryIdentity{}, fmt.Errorf("the attribute %q is unknown; known are %s", shorten(kind), strings.Join(attributeNames(), ", "))
		}
		if value == "" {
			return NotaryIdentity{}, fmt.Errorf("the attribute %s has no value", kind)
		}
		if _, twice := want[kind]; twice {
			return NotaryIdentity{}, fmt.Errorf("the attribute %s stands there twice", kind)
		}
		want[kind] = value
	}
	for _, kind := range []string{"C", "ST", "O"} {
		if want[kind] == "" {
			return NotaryIdentity{}, fmt.Errorf("it has no %s; country (C), state (ST) and organization (O) must be named", kind)
		}
	}
	return NotaryIdentity{text: text, want: want}, nil
}

// String is the identity as it was written.
func (i NotaryIdentity) String() string { return i.text }

// Overlaps says whether every certificate that one of the identities takes is also taken by
// the other, which the specification forbids: one of them is not what it seems.
func (i NotaryIdentity) Overlaps(other NotaryIdentity) bool {
	return subset(i.want, other.want) || subset(other.want, i.want)
}

func subset(small, large map[string]string) bool {
	for kind, value := range small {
		if large[kind] != value {
			return false
		}
	}
	return true
}

// matches compares the subject's attributes themselves, not a text made from them. An
// attribute that the subject has more than once is none that can be compared: readers
// differ in which of them they see.
func (i NotaryIdentity) matches(cert *x509.Certificate) bool {
	for kind, value := range i.want {
		oid, found := attributeOIDs()[kind], 0
		for _, attribute := range cert.Subject.Names {
			if attribute.Type.String() != oid {
				continue
			}
			if text, ok := attribute.Value.(string); !ok || text != value {
				return false
			}
			found++
		}
		if found != 1 {
			return false
		}
	}
	return i.text != "" // the zero identity takes nobody
}

// attributeName brings the spellings of a type together: S is an alias of ST (trust policy
// specification), and case does not matter (RFC 4514, section 2.3).
func attributeName(kind string) string {
	kind = strings.ToUpper(kind)
	if kind == "S" {
		return "ST"
	}
	return kind
}

// attributeOIDs are the types that RFC 4514, section 3 names, and those that certificates
// of organizations carry besides.
func attributeOIDs() map[string]string {
	return map[string]string{
		"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8",
		"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "POSTALCODE": "2.5.4.17",
		"UID": "0.9.2342.19200300.100.1.1", "DC": "0.9.2342.19200300.100.1.25", "EMAILADDRESS": "1.2.840.113549.1.9.1",
	}
}

func attributeNames() []string {
	var names []string
	for name := range attributeOIDs() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
