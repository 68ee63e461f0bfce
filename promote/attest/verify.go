package attest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore/pkg/signature"
)

const timeFormat = time.RFC3339

// unsigned is the problem of everything that nobody signed.
const unsigned = "unsigned: data, not evidence"

// Verify says what an attachment proves about subject: which of the authorities signed
// it, and what it states. now is the time that keys and certificates must be valid at
// where nothing proves when they signed.
//
// It never fails: whatever is wrong, a panic of a library included, is the Problem of the
// evidence, and evidence with a problem has no signers.
func Verify(att Attachment, subject digest.Digest, authorities []Authority, now time.Time) Evidence {
	return VerifyExcept(att, subject, authorities, now, nil)
}

// Except says why what somebody signed does not count although it verifies; empty where
// nothing is said against it. The evidence is as far as it is known without its signers; at is
// when that one verifiably signed, zero where nothing proves it.
type Except func(ev Evidence, s Signer, at time.Time) string

// VerifyExcept is Verify without the signatures that except speaks against; nil: against none.
func VerifyExcept(att Attachment, subject digest.Digest, authorities []Authority, now time.Time, except Except) Evidence {
	if isNotary(att.Format) {
		return notaryEvidence(att, subject, authorities, now).without(except)
	}
	att = labelled(att)
	return decide(att, examine(att, authorities), subject, authorities, now, except)
}

// examination is what an attachment holds and proves to each of some kinds of trust. It
// knows neither the time nor any name, so that it can be kept: decide does the rest.
type examination struct {
	statement map[string]any // of the one strict parse; nil where there is nothing to show
	signed    digest.Digest  // of what the signatures are over; empty where that is not known
	// problem says why the attachment counts for nobody, before anything about signers;
	// unstated why what was signed is no statement.
	problem, unstated string
	proofs            []proof // by authority
	broken            bool    // a panic: not to be kept
}

// examine does what does not depend on the time or on who may sign: it parses, and
// verifies signatures, certificates and times.
func examine(att Attachment, authorities []Authority) (ex examination) {
	// The libraries below parse what strangers wrote. One attestation that breaks them
	// must neither count nor take the server down.
	defer func() {
		if r := recover(); r != nil {
			ex.proofs, ex.broken = nil, true
			ex.problem = fmt.Sprintf("verification broke off: %v", r)
		}
	}()
	if att.Problem != "" {
		return examination{problem: att.Problem}
	}
	if att.Format == FormatUnsigned {
		return examineUnsigned(att.Content)
	}
	p, err := unwrap(att)
	var malformed error
	if p != nil {
		ex.statement, malformed = p.state()
		if len(p.message) > 0 {
			ex.signed = digest.FromBytes(p.message)
		}
	}
	switch {
	case err != nil:
		ex.problem = err.Error()
	case !p.simple && p.payloadType != PayloadType:
		ex.problem = fmt.Sprintf("the envelope's payloadType is %q; it must be %q", shorten(p.payloadType), PayloadType)
	case malformed != nil:
		ex.problem = malformed.Error()
	}
	if ex.problem != "" {
		return ex
	}
	for _, authority := range authorities {
		proven, err := trustOf(authority).prove(p)
		if err != nil && authority.Functionary {
			proven, err = refuse("a functionary's key cannot be used: %v", err), nil
		}
		if err != nil {
			ex.proofs, ex.problem = nil, naming(err.Error(), authority.Name)
			return ex
		}
		ex.proofs = append(ex.proofs, proven)
	}
	if err := checkTypes(ex.statement); err != nil {
		ex.unstated = err.Error()
	}
	return ex
}

// examineUnsigned takes over what can be shown.
func examineUnsigned(content []byte) examination {
	tree, err := DecodeStrict(content, MaxDepth)
	ex := examination{statement: tree, problem: unsigned}
	if err != nil || tree["_type"] == nil {
		return ex // an SBOM as such, in whatever form
	}
	if err := checkTypes(tree); err != nil {
		ex.problem = fmt.Sprintf("%s; besides, %v", unsigned, err)
	}
	return ex
}

// decide says what an examination means for authorities, in the order that it was made
// for, at a time. The reasons are in the order in which one is of most use: the wrapping,
// the signature, then what was signed.
func decide(att Attachment, ex examination, subject digest.Digest, authorities []Authority, now time.Time, except Except) Evidence {
	ev := Evidence{Manifest: att.Manifest.Digest, Layer: att.Layer.Digest, Signed: ex.signed, Subject: subject, Format: att.Format, Statement: ex.statement, Problem: ex.problem}
	ev.PredicateType, _ = ex.statement["predicateType"].(string)
	if ev.Problem == unsigned && ex.statement["_type"] != nil {
		if err := checkSubject(ex.statement, subject); err != nil {
			ev.Problem = fmt.Sprintf("%s; besides, %v", unsigned, err)
		}
	}
	if ev.Problem != "" {
		return ev
	}
	against := func(s Signer, at time.Time) string { return "" }
	if except != nil {
		bare := ev
		against = func(s Signer, at time.Time) string { return except(bare, s, at) }
	}
	if ev.IsLink() && ex.unstated == "" {
		ev.Functionaries, _, _ = signersOf(ex.proofs, authorities, true, now, against)
	}
	signers, signedAt, err := signersOf(ex.proofs, authorities, false, now, against)
	switch {
	case err != nil:
		ev.Problem = ev.forLayouts(err).Error()
	case ex.unstated != "":
		ev.Problem = ex.unstated
	default:
		if err := checkSubject(ex.statement, subject); err != nil {
			ev.Problem = ev.forLayouts(err).Error()
		}
	}
	if ev.Problem == "" {
		ev.Signers, ev.SignedAt = signers, signedAt
	}
	return ev
}

// signersOf finds the authorities, or the functionaries among them, that signed in the time
// in which their signatures count, and against whom nothing is said, sorted by name, each
// once, and the earliest time at which one verifiably did.
func signersOf(proofs []proof, authorities []Authority, functionaries bool, now time.Time, against func(Signer, time.Time) string) ([]Signer, time.Time, error) {
	var signers []Signer
	var signedAt time.Time
	var outside []string
	var refused []refusedBy
	for i, p := range proofs {
		authority := authorities[i]
		if authority.Functionary != functionaries {
			continue
		}
		if p.refusal != "" {
			refused = append(refused, refusedBy{p, authority.Name})
			continue
		}
		signer := Signer{Authority: authority.Name, Principal: principalOf(authority), Issuer: p.issuer, Subject: p.subject}
		w, reason := p.judge(authority.Name, now, func(w window) string {
			signer.KeyID = w.keyID
			return against(signer, p.earliest())
		})
		if reason != "" {
			outside = append(outside, reason)
			continue
		}
		signer.KeyID = w.keyID
		signers = append(signers, signer)
		if len(p.times) > 0 && (signedAt.IsZero() || p.times[0].Before(signedAt)) {
			signedAt = p.earliest()
		}
	}
	switch {
	case len(signers) > 0:
		slices.SortFunc(signers, func(a, b Signer) int { return cmp.Compare(a.Authority, b.Authority) })
		return signers, signedAt, nil
	case len(outside) > 0:
		return nil, time.Time{}, errors.New(strings.Join(outside, "; "))
	}
	return nil, time.Time{}, noSigner(refused)
}

func principalOf(a Authority) string { return cmp.Or(a.Principal, a.Name) }

// refusedBy is a proof with a refusal, and whose it would have been.
type refusedBy struct {
	proof
	name string
}

// noSigner says of each authority why the signature is not its, those together of whom
// the same is to be said.
func noSigner(refused []refusedBy) error {
	if len(refused) == 0 {
		return errors.New("there is no authority whose signature would count")
	}
	var likely, other []string
	names := map[string][]string{}
	for _, p := range refused {
		switch {
		case names[p.refusal] != nil:
		case p.otherKind:
			other = append(other, p.refusal)
		default:
			likely = append(likely, p.refusal)
		}
		names[p.refusal] = append(names[p.refusal], p.name)
	}
	reasons := append(likely, other...)
	for i, reason := range reasons {
		reasons[i] = naming(reason, names[reason]...)
	}
	return fmt.Errorf("no authority signed it: %s", strings.Join(reasons, "; "))
}

// verifyWith says whether the key made one of the signatures. The ids that envelopes give
// to keys are not looked at: nobody signed them, and libraries that go by them pass over
// good signatures.
func verifyWith(key Key, signed []byte, signatures [][]byte) (bool, error) {
	hash, err := checkKey(key.Public)
	if err != nil {
		return false, err
	}
	verifier, err := signature.LoadVerifier(key.Public, hash)
	if err != nil {
		return false, err
	}
	return anyVerifies(verifier, signed, signatures), nil
}

func anyVerifies(verifier signature.Verifier, signed []byte, signatures [][]byte) bool {
	for _, sig := range signatures {
		if verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(signed)) == nil {
			return true
		}
	}
	return false
}
