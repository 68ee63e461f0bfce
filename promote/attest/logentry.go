package attest

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"errors"
)

// checkLogEntry refuses an entry of a transparency log that is about something else than
// the envelope it comes with: whoever put the two together meant to deceive, or mixed
// something up. It is asked of every entry, also where there is no log key to verify it
// with; that an entry fits proves nothing yet. An entry without a body says nothing.
//
// Rekor's entry types (dsse, intoto, hashedrekord, v1 and v2) keep the hash of the payload
// or of what was signed in different places and encodings; that one of them is there at
// all is what they have in common.
func checkLogEntry(body []byte, p *parcel) error {
	if len(body) == 0 {
		return nil
	}
	for _, hashed := range [][]byte{p.payload, p.message} {
		for _, algorithm := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			h := algorithm.New()
			h.Write(hashed)
			sum := h.Sum(nil)
			if bytes.Contains(body, []byte(hex.EncodeToString(sum))) || bytes.Contains(body, []byte(base64.StdEncoding.EncodeToString(sum))) {
				return nil
			}
		}
	}
	return errors.New("it is about something else: it does not hold the hash of what was signed here")
}
