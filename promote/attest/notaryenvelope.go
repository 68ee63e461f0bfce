package attest

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/notaryproject/notation-core-go/signature"
	notarycose "github.com/notaryproject/notation-core-go/signature/cose"
	notaryjws "github.com/notaryproject/notation-core-go/signature/jws"
	"github.com/veraison/go-cose"
)

// Bounds of a signature: what signers make has some kilobytes and two to four certificates.
// Large keys are expensive to verify with, and anyone may attach a signature.
const (
	maxNotaryBytes = 1 << 20
	maxNotaryChain = 10
)

// Names of the protected headers that the envelope specifications define.
const (
	headerExpiry    = "io.cncf.notary.expiry"
	headerScheme    = "io.cncf.notary.signingScheme"
	headerTime      = "io.cncf.notary.signingTime"
	headerAuthentic = "io.cncf.notary.authenticSigningTime"
	headerPlugin    = "io.cncf.notary.verificationPlugin" // also the beginning of …MinVersion
)

// notaryEnvelope is an envelope before anything in it was believed.
type notaryEnvelope struct {
	payload []byte
	parse   func() (signature.Envelope, error) // gives the library what was read here
}

// openNotary takes an envelope apart as far as its bounds and the library's leniencies ask
// for. Where the error is about what surrounds the payload the envelope is returned too, so
// that it can be shown.
func openNotary(format Format, content []byte) (*notaryEnvelope, error) {
	if len(content) > maxNotaryBytes {
		return nil, fmt.Errorf("the signature has %d bytes, the limit is %d", len(content), maxNotaryBytes)
	}
	if format == FormatNotaryCOSE {
		return openCOSE(content)
	}
	return openJWS(content)
}

// flatJWS is the envelope as the JWS envelope specification has it (the flattened JSON
// serialization of RFC 7515).
type flatJWS struct {
	Payload   string    `json:"payload"`
	Protected string    `json:"protected"`
	Header    jwsHeader `json:"header"`
	Signature string    `json:"signature"`
}

// jwsHeader is not protected. What else stands in it is dropped: it decides nothing.
type jwsHeader struct {
	Chain     []string `json:"x5c"`
	Timestamp string   `json:"io.cncf.notary.timestampSignature,omitempty"`
}

// openJWS reads the envelope strictly and writes it anew for the library, which reads JSON
// with case folded and the last of two keys.
func openJWS(content []byte) (*notaryEnvelope, error) {
	tree, err := DecodeStrict(content, MaxDepth)
	if err != nil {
		return nil, fmt.Errorf("the envelope is not strict JSON: %w", err)
	}
	var read flatJWS
	header, ok := tree["header"].(map[string]any)
	if !ok {
		return nil, errors.New("the envelope has no header with certificates")
	}
	for name, into := range map[string]*string{"payload": &read.Payload, "protected": &read.Protected, "signature": &read.Signature} {
		if *into, ok = tree[name].(string); !ok {
			return nil, fmt.Errorf("the envelope has no %q", name)
		}
	}
	if len(tree) != 4 {
		return nil, errors.New("the envelope has more than payload, protected, header and signature")
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(read.Payload)
	if err != nil {
		return nil, errors.New("the envelope's payload is not base64url")
	}
	e := &notaryEnvelope{payload: payload}
	if err := checkProtected(read.Protected); err != nil {
		return e, err
	}
	if read.Header, err = jwsHeaderOf(header); err != nil {
		return e, err
	}
	written, err := json.Marshal(read)
	if err != nil {
		return e, fmt.Errorf("the envelope cannot be read: %w", err)
	}
	e.parse = func() (signature.Envelope, error) { return notaryjws.ParseEnvelope(written) }
	return e, nil
}

// checkProtected makes sure that the library's reading of the signed header is the only one.
func checkProtected(encoded string) error {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil {
		return errors.New("the envelope's protected header is not base64url")
	}
	tree, err := DecodeStrict(raw, MaxDepth)
	if err != nil {
		return fmt.Errorf("the envelope's protected header is not strict JSON: %w", err)
	}
	for key := range tree {
		for _, known := range []string{"alg", "cty", "crit", headerExpiry, headerScheme, headerTime, headerAuthentic} {
			if key != known && foldCase(key) == foldCase(known) {
				return fmt.Errorf("the envelope's protected header has %q, which some read as %q", shorten(key), known)
			}
		}
	}
	return nil
}

func jwsHeaderOf(header map[string]any) (jwsHeader, error) {
	var out jwsHeader
	chain, ok := header["x5c"].([]any)
	if !ok {
		return out, errors.New("the envelope has no certificate chain (x5c)")
	}
	var certs []any
	for _, item := range chain {
		text, _ := item.(string)
		der, err := base64.StdEncoding.Strict().DecodeString(text)
		if err != nil {
			return out, errors.New("a certificate of the envelope is not base64")
		}
		out.Chain, certs = append(out.Chain, text), append(certs, der)
	}
	if stamp, there := header["io.cncf.notary.timestampSignature"]; there {
		if out.Timestamp, ok = stamp.(string); !ok {
			return out, errors.New("the envelope's timestamp is not base64")
		}
		if _, err := base64.StdEncoding.Strict().DecodeString(out.Timestamp); err != nil {
			return out, errors.New("the envelope's timestamp is not base64")
		}
	}
	return out, checkChain(certs)
}

// openCOSE reads the envelope with the library's own CBOR reader, which refuses duplicate
// keys and trailing bytes, for the bounds that the library does not keep.
func openCOSE(content []byte) (*notaryEnvelope, error) {
	var message cose.Sign1Message
	if err := message.UnmarshalCBOR(content); err != nil {
		return nil, fmt.Errorf("the envelope is not a COSE_Sign1: %w", err)
	}
	e := &notaryEnvelope{payload: message.Payload}
	chain, ok := message.Headers.Unprotected[cose.HeaderLabelX5Chain].([]any)
	if !ok {
		return e, errors.New("the envelope has no certificate chain (x5chain)")
	}
	if err := checkChain(chain); err != nil {
		return e, err
	}
	// The library refuses the other scheme's time in JWS only.
	_, stated := message.Headers.Protected[headerTime]
	_, authentic := message.Headers.Protected[headerAuthentic]
	if stated && authentic {
		return e, fmt.Errorf("the envelope has both %s and %s; each belongs to another signing scheme", headerTime, headerAuthentic)
	}
	e.parse = func() (signature.Envelope, error) { return notarycose.ParseEnvelope(content) }
	return e, nil
}

// checkChain bounds the certificates before anything is verified with them.
func checkChain(chain []any) error {
	switch {
	case len(chain) == 0:
		return errors.New("the envelope has no certificate")
	case len(chain) > maxNotaryChain:
		return fmt.Errorf("the envelope has %d certificates, the limit is %d", len(chain), maxNotaryChain)
	}
	for i, item := range chain {
		der, _ := item.([]byte)
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %d of the envelope cannot be read: %w", i, err)
		}
		if _, err := checkKey(cert.PublicKey); err != nil {
			return fmt.Errorf("certificate %d of the envelope: %w", i, err)
		}
	}
	return nil
}

// verify checks the signature and what the signature specification asks of an envelope: the
// headers that must be critical, and a complete chain of fit certificates down from a root.
func (e *notaryEnvelope) verify() (*signature.EnvelopeContent, error) {
	parsed, err := e.parse()
	if err != nil {
		return nil, fmt.Errorf("the envelope cannot be read: %w", err)
	}
	content, err := parsed.Verify()
	if err != nil {
		var broken *signature.SignatureIntegrityError
		if errors.As(err, &broken) {
			return nil, fmt.Errorf("the signature is not valid: %s", reason(broken.Err))
		}
		return nil, fmt.Errorf("not a valid Notary Project signature: %s", reason(err))
	}
	if string(content.Payload.Content) != string(e.payload) {
		return nil, errors.New("the envelope's payload can be read in two ways")
	}
	if content.Payload.ContentType != notaryPayload {
		return nil, fmt.Errorf("the signature is over a %q; it must be over a %q", shorten(content.Payload.ContentType), notaryPayload)
	}
	return content, checkAttributes(content.SignerInfo.SignedAttributes.ExtendedAttributes)
}

// checkAttributes refuses what a verifier must understand and this one does not. Plugins of
// the signer's choice are among it: none is run here.
func checkAttributes(attributes []signature.Attribute) error {
	for _, a := range attributes {
		name := fmt.Sprint(a.Key)
		switch {
		case strings.HasPrefix(name, headerPlugin):
			return fmt.Errorf("the signature must be verified with a plugin (%s); plugins are not supported: sign without one", shorten(name))
		case a.Critical:
			return fmt.Errorf("the signature has the critical attribute %q, which is unknown here", shorten(name))
		}
	}
	return nil
}

// reason is what a library says, certificate subjects that others wrote included.
func reason(err error) string {
	const most = 500
	text := strings.ToValidUTF8(err.Error(), "?")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}
