package attest

import (
	"crypto"
	"fmt"
	"time"
)

// keyRing trusts the keys of an authority, and what proves when they signed.
type keyRing struct {
	keys       []Key
	timestamps *Timestamps
}

func (k keyRing) identify() (string, error) {
	parts := []string{"keys", k.timestamps.id()}
	for _, key := range k.keys {
		id, err := fingerprint(key.Public)
		if err != nil {
			return "", fmt.Errorf("a key cannot be used: %w", err)
		}
		parts = append(parts, id, key.NotBefore.UTC().Format(time.RFC3339Nano), key.NotAfter.UTC().Format(time.RFC3339Nano))
	}
	return identity(parts...), nil
}

// prove looks for keys that made one of the signatures.
func (k keyRing) prove(p *parcel) (proof, error) {
	if p.certificate != nil {
		out := refuse("it is not signed with a key of %s, but with a certificate (issued by %q, valid to %s)",
			whoever, shorten(p.certificate.Issuer.String()), p.certificate.NotAfter.UTC().Format(timeFormat))
		out.otherKind = true
		return out, nil
	}
	verdicts := map[string]bool{} // by fingerprint: the same key may stand there with other bounds
	out := proof{}
	var signer crypto.PublicKey
	for _, key := range k.keys {
		id, err := fingerprint(key.Public)
		if err != nil {
			return proof{}, fmt.Errorf("a key of %s cannot be used: %w", whoever, err)
		}
		verified, done := verdicts[id]
		if !done {
			if verified, err = p.verifiedBy(key); err != nil {
				return proof{}, fmt.Errorf("the key %s of %s cannot be used: %w", id, whoever, err)
			}
			verdicts[id] = verified
		}
		switch {
		case verified:
			signer = key.Public
			out.windows = append(out.windows, window{id, fmt.Sprintf("the key %s of %s", id, whoever), key.NotBefore, key.NotAfter})
		case id == p.hint:
			out.refusal = fmt.Sprintf("the signature is not valid: it names the key %s of %s, which does not verify it", id, whoever)
		}
	}
	switch {
	case signer != nil:
		out.refusal = ""
		err := k.timestamps.date(&out, p, keyContent{signer})
		if err != nil {
			return refuse("%s signed it, but %v", whoever, err), nil
		}
	case out.refusal != "":
	case p.hint != "":
		return refuse("no key of %s verifies the signature (it names the key %q)", whoever, shorten(p.hint)), nil
	default:
		return refuse("no key of %s verifies the signature", whoever), nil
	}
	return out, nil
}
