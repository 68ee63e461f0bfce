package attest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// TrustedRoot is a pinned Sigstore trusted root: certificate authorities, transparency
// logs and timestamp authorities, and when each is believed. Nothing is fetched for it,
// and it is never renewed by itself.
type TrustedRoot struct {
	material  root.TrustedMaterial
	canonical []byte
	id        string
}

// ParseTrustedRoot reads a trusted root as "cosign trusted-root create" writes it (JSON,
// media type application/vnd.dev.sigstore.trustedroot+json;version=0.1).
func ParseTrustedRoot(data []byte) (*TrustedRoot, error) {
	if _, err := DecodeStrict(data, MaxDepth); err != nil {
		return nil, fmt.Errorf("parse trusted root: it is not strict JSON: %w", err)
	}
	pb, err := root.NewTrustedRootProtobuf(data)
	if err != nil {
		return nil, fmt.Errorf("parse trusted root: %w", err)
	}
	material, err := root.NewTrustedRootFromProtobuf(pb)
	if err != nil {
		return nil, fmt.Errorf("parse trusted root: %w", err)
	}
	text, err := protojson.Marshal(pb)
	if err != nil {
		return nil, fmt.Errorf("parse trusted root: %w", err)
	}
	canonical := jsontext.Value(text) // protojson varies its white space on purpose
	if err := canonical.Canonicalize(); err != nil {
		return nil, fmt.Errorf("parse trusted root: %w", err)
	}
	r := &TrustedRoot{material: material, canonical: canonical, id: identity("root", string(canonical))}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("parse trusted root: %w", err)
	}
	return r, nil
}

// check refuses what would let one log or one authority count as two, or count for what it
// is not.
func (r *TrustedRoot) check() error {
	for name, logs := range map[string]map[string]*root.TransparencyLog{"log": r.material.RekorLogs(), "certificate log": r.material.CTLogs()} {
		seen := map[string]bool{}
		for _, log := range logs {
			id, err := fingerprint(log.PublicKey)
			if err != nil {
				return fmt.Errorf("the key of a %s cannot be used: %w", name, err)
			}
			if seen[id] {
				return fmt.Errorf("two of its entries are of one %s: the key %s stands there twice", name, id)
			}
			seen[id] = true
		}
	}
	for _, ca := range r.material.FulcioCertificateAuthorities() {
		if fulcio, ok := ca.(*root.FulcioCertificateAuthority); !ok || fulcio.Root == nil || !fulcio.Root.IsCA {
			return errors.New("the last certificate of a certificate authority is not a CA's")
		}
	}
	seen := [][]byte{}
	for _, ca := range r.material.TimestampingAuthorities() {
		tsa, ok := ca.(*root.SigstoreTimestampingAuthority)
		if !ok || tsa.Root == nil || !tsa.Root.IsCA {
			return errors.New("the last certificate of a timestamp authority is not a CA's")
		}
		signer := tsa.Root.Raw
		if tsa.Leaf != nil {
			signer = tsa.Leaf.Raw
		}
		if slices.ContainsFunc(seen, func(other []byte) bool { return bytes.Equal(other, signer) }) {
			return fmt.Errorf("two of its entries are of one timestamp authority: %s", tsa.URI)
		}
		seen = append(seen, signer)
	}
	return nil
}

// JSON is the trusted root in one form, whatever order and white space it was written in.
func (r *TrustedRoot) JSON() []byte { return bytes.Clone(r.canonical) }

// Counts are how many certificate authorities, transparency logs, timestamp authorities
// and certificate transparency logs there are, and so how many can be asked for.
func (r *TrustedRoot) Counts() (authorities, logs, timestamps, certificateLogs int) {
	m := r.material
	return len(m.FulcioCertificateAuthorities()), len(m.RekorLogs()), len(m.TimestampingAuthorities()), len(m.CTLogs())
}

// witnesses are the verified times at which a signature was there.
type witnesses struct {
	logged, stamped []time.Time
	doubts          error // why timestamps did not verify, where any did not
}

// all are the times in order.
func (w witnesses) all() []time.Time {
	return slices.SortedFunc(slices.Values(slices.Concat(w.logged, w.stamped)), time.Time.Compare)
}

// witness verifies the log entries and timestamps that a parcel brings. Each log and each
// timestamp authority counts once; those that the root does not know count for nothing;
// an entry of a known log that is about something else is an error. A log's time is
// believed only where the log promised inclusion, since only then it is signed.
func (r *TrustedRoot) witness(p *parcel, signer verify.VerificationContent, logEntries int) (witnesses, error) {
	var w witnesses
	e := &entity{parcel: p, signer: signer}
	material := r.material
	if key, ok := signer.(keyContent); ok {
		material = keyMaterial{r.material, key.key}
	}
	if logEntries > 0 || len(material.RekorLogs()) > 0 {
		var err error
		if e.entries, err = p.entries(); err != nil {
			return w, fmt.Errorf("its log entries cannot be read: %w", err)
		}
		if len(e.entries) < logEntries {
			return w, fmt.Errorf("it has %d log entries; %d are asked for", len(e.entries), logEntries)
		}
	}
	if len(e.entries) > 0 {
		logged, err := verify.VerifyTlogEntry(e, material, logEntries, true)
		if err != nil {
			return w, fmt.Errorf("its log entries do not verify: %w", err)
		}
		for _, t := range logged {
			w.logged = append(w.logged, t.Time)
		}
	}
	if len(p.timestamps) > 0 && len(material.TimestampingAuthorities()) > 0 {
		stamped, doubts, err := verify.VerifySignedTimestamp(stampedEntity{e}, material)
		if err != nil {
			return w, fmt.Errorf("its timestamps cannot be verified: %w", err)
		}
		for _, t := range stamped {
			w.stamped = append(w.stamped, t.Time)
		}
		w.doubts = errors.Join(doubts...)
	}
	return w, nil
}
