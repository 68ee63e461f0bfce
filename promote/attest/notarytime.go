package attest

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	nx509 "github.com/notaryproject/notation-core-go/x509"
	"github.com/notaryproject/tspclient-go"
)

const (
	// maxAhead is how far the clock of a signer or timestamp authority may be ahead.
	maxAhead = 5 * time.Minute
	// maxAccuracy bounds the interval that a timestamp may stand for, in seconds.
	maxAccuracy = 60 * 60
)

// span is the time in which a signature was made, both ends included.
type span struct {
	from, to time.Time
	proven   bool // by somebody whom the policy trusts; else it is the time of verification
}

// timeOf finds when a signature was made (trust store specification, "Validate Trusted
// Timestamp").
func (n *Notary) timeOf(info *signature.SignerInfo, now time.Time) (span, error) {
	switch {
	case info.SignedAttributes.SigningScheme == signature.SigningSchemeX509SigningAuthority:
		at := info.SignedAttributes.SigningTime
		if at.Sub(now) > maxAhead {
			return span{}, fmt.Errorf("it says that it was signed at %s, which is in the future", at.UTC().Format(timeFormat))
		}
		return span{from: at, to: at, proven: true}, nil
	case len(n.TimestampRoots) == 0:
		return span{from: now, to: now}, nil
	case len(info.UnsignedAttributes.TimestampSignature) == 0:
		return span{}, errors.New("it has no timestamp, and must have one of a timestamp authority in timestampRoots (notation sign --timestamp-url)")
	}
	when, err := n.timestamp(info.UnsignedAttributes.TimestampSignature, info.Signature)
	if err != nil {
		return span{}, fmt.Errorf("its timestamp does not count: %w", err)
	}
	if when.from.Sub(now) > maxAhead {
		return span{}, fmt.Errorf("its timestamp is of %s, which is in the future", when.from.UTC().Format(timeFormat))
	}
	return when, nil
}

// timestamp verifies a token of RFC 3161 over a signature.
func (n *Notary) timestamp(token, over []byte) (span, error) {
	signed, err := tspclient.ParseSignedToken(token)
	if err != nil {
		return span{}, fmt.Errorf("it cannot be read: %w", err)
	}
	if len(signed.Certificates) > maxNotaryChain {
		return span{}, fmt.Errorf("it has %d certificates, the limit is %d", len(signed.Certificates), maxNotaryChain)
	}
	for _, cert := range signed.Certificates {
		if _, err := checkKey(cert.PublicKey); err != nil {
			return span{}, fmt.Errorf("the certificate %s in it: %w", subjectOf(cert), err)
		}
	}
	stated, err := signed.Info()
	if err != nil {
		return span{}, fmt.Errorf("it cannot be read: %w", err)
	}
	stamp, err := stated.Validate(over)
	if err != nil {
		return span{}, fmt.Errorf("it is not of this signature: %w", err)
	}
	// Out of these bounds (RFC 3161, section 2.4.2) the sum could overflow.
	if a := stated.Accuracy; !within(a.Seconds, maxAccuracy) || !within(a.Milliseconds, 999) || !within(a.Microseconds, 999) {
		return span{}, errors.New("its accuracy makes no sense")
	}
	roots := x509.NewCertPool()
	for _, root := range n.TimestampRoots {
		roots.AddCert(root)
	}
	chain, err := signed.Verify(context.Background(), x509.VerifyOptions{Roots: roots, CurrentTime: stamp.Value})
	if err != nil {
		return span{}, fmt.Errorf("it is not of a timestamp authority in timestampRoots: %s", reason(err))
	}
	if err := nx509.ValidateTimestampingCertChain(chain); err != nil {
		return span{}, fmt.Errorf("its certificates: %s", reason(err))
	}
	return span{from: stamp.Value.Add(-stamp.Accuracy), to: stamp.Value.Add(stamp.Accuracy), proven: true}, nil
}

func within(n, most int) bool { return n >= 0 && n <= most }

// checkValidity says whether all of a chain was valid all of the time.
func checkValidity(chain []*x509.Certificate, when span) error {
	proof := ", and nothing proves that it was signed before"
	if when.proven {
		proof = fmt.Sprintf(", and it was signed at %s", when.to.UTC().Format(timeFormat))
	}
	for _, cert := range chain {
		switch {
		case when.from.Before(cert.NotBefore):
			return fmt.Errorf("the certificate %s is not valid before %s%s", subjectOf(cert), cert.NotBefore.UTC().Format(timeFormat), whenProven(when, proof))
		case when.to.After(cert.NotAfter):
			return fmt.Errorf("the certificate %s expired at %s%s", subjectOf(cert), cert.NotAfter.UTC().Format(timeFormat), proof)
		}
	}
	return nil
}

// whenProven leaves out the clause that only makes sense of an expired certificate.
func whenProven(when span, proof string) string {
	if when.proven {
		return proof
	}
	return ""
}
