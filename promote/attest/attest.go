package attest

import (
	"context"
	"crypto"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Source is what evidence is read from: one repository of one tier.
type Source interface {
	// Referrers lists a page of at most n manifests whose subject is the given digest,
	// in the order of their digests, after last; next is empty on the last page. An
	// empty artifactType lists all.
	Referrers(ctx context.Context, subject digest.Digest, artifactType, last string, n int) (page []ocispec.Descriptor, next string, err error)
	// Resolve finds the descriptor of the manifest with a tag or digest; the error wraps
	// oci.ErrManifestUnknown where there is none.
	Resolve(ctx context.Context, reference string) (ocispec.Descriptor, error)
	// Fetch opens a manifest or blob of the repository. What is read is not yet
	// compared with the descriptor; callers read it with Read.
	Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error)
}

// Format is how an attestation is wrapped.
type Format string

// The formats that Find understands.
const (
	FormatBundle    Format = "sigstore-bundle" // Sigstore bundle v0.1 to v0.3 as a referrer
	FormatDSSE      Format = "dsse"            // a bare DSSE envelope as a referrer
	FormatCosignAtt Format = "cosign-att"      // a DSSE envelope as a layer of cosign's .att tag
	FormatLink      Format = "in-toto-link"    // a link as in-toto's own command writes it, in a metablock or envelope
	FormatCosignSig Format = "cosign-sig"      // a simple signing payload, signed as cosign did before bundles
	FormatUnsigned  Format = "unsigned"        // a statement that nobody signed: data, never evidence
)

// Attachment is one attestation as it was found, before anything in it was believed.
type Attachment struct {
	// Manifest is the manifest that carries it, Layer the blob inside that holds it.
	Manifest ocispec.Descriptor
	Layer    ocispec.Descriptor
	Format   Format
	// Target is what the source knows of the manifest that it is attached to, where the
	// attestation describes that beyond its digest; else it is empty.
	Target ocispec.Descriptor
	// Content is the bundle, envelope or statement, byte for byte; nil where Problem says
	// why it could not be read.
	Content []byte
	Problem string
}

// Authority is somebody whose signature a policy accepts. Two authorities of one
// principal, or with one key or identity, count once towards a threshold.
//
// What makes a signature an authority's is one kind of trust: Keys, Keyless, X509 or
// Notary.
type Authority struct {
	Name      string
	Principal string // the name, unless the policy says otherwise

	Keys []Key
	// Timestamps prove when one of the keys signed; nil where nothing does.
	Timestamps *Timestamps
	Keyless    *Keyless
	X509       *X509
	Notary     *Notary
	// Functionary says that the signature counts only as that of a step of an in-toto
	// layout: it makes Evidence.Functionaries, never Evidence.Signers.
	Functionary bool
}

// Key is a public key with the time in which its signatures count.
type Key struct {
	ID        string // SHA-256 of the SubjectPublicKeyInfo, lower-case hex
	Public    crypto.PublicKey
	NotBefore time.Time // zero: no bound
	NotAfter  time.Time // zero: no bound
}

// Evidence is one attestation after verification: a fact for the policy, or the reason
// why it is none.
type Evidence struct {
	Manifest digest.Digest `json:"digest"`  // of the manifest that carries it
	Layer    digest.Digest `json:"-"`       // of the blob that holds it; empty where there is none
	Signed   digest.Digest `json:"-"`       // of what the signatures are over; empty where that is not known
	Subject  digest.Digest `json:"subject"` // of the manifest it was found attached to
	Format   Format        `json:"format"`
	// PredicateType, Predicate and Statement are of the one strict parse of the payload.
	// They are set for unverified attestations too, so that they can be shown; a policy
	// looks only at evidence with signers.
	PredicateType string         `json:"predicateType,omitempty"`
	Statement     map[string]any `json:"-"`
	// Signers are the authorities whose key or certificate verified the signature, sorted
	// by name.
	Signers []Signer `json:"signers,omitempty"`
	// Functionaries are those whose key verified the signature of an in-toto link, for
	// layouts only. A link of an earlier step is about other things than the artifact, so
	// they stand beside a Problem too: they say who performed the step, not that the link
	// counts as evidence about the artifact.
	Functionaries []Signer `json:"functionaries,omitempty"`
	// SignedAt is the verified time of signing, zero where none was proven. Where there
	// are several it is the earliest: each proves that the signature was there by then,
	// and sigstore-go, which judges a certificate at all of them, prefers none.
	SignedAt time.Time `json:"signedAt,omitzero"`
	// Problem says why the attestation does not count; empty where it does.
	Problem string `json:"problem,omitempty"`
	// Revoked are the ids of the revocations because of which it, or one of its signers, does
	// not count.
	Revoked []string `json:"revoked,omitempty"`
}

// Verified says whether the attestation may count.
func (e Evidence) Verified() bool { return e.Problem == "" && len(e.Signers) > 0 }

// Signer is an authority that signed, and with what.
type Signer struct {
	Authority string `json:"authority"`
	Principal string `json:"principal"`
	// KeyID is what one signer is counted by. Of a key it is the fingerprint (Key.ID). A
	// certificate's key says nothing about who signs, as keyless signers make one for each
	// signature: there it is the fingerprint of the identity, issuer and subject, so that
	// one identity counts once, however many certificates it has had.
	KeyID string `json:"keyId"`
	// Issuer and Subject are of the certificate, where one signed: who vouches for the
	// identity (the OpenID Connect issuer, or the issuer's distinguished name) and the
	// identity itself.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
}
