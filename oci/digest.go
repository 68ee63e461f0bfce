package oci

import (
	_ "crypto/sha256" // registers the algorithms that go-digest checks against
	_ "crypto/sha512"
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ParseDigest parses a digest of one of the algorithms that the image spec registers and
// that this registry stores: sha256 and sha512, in lower-case hex of full length. The
// error wraps ErrDigestInvalid.
func ParseDigest(s string) (digest.Digest, error) {
	d := digest.Digest(s)
	if err := d.Validate(); err != nil {
		return "", fmt.Errorf("%w: %q: %w", ErrDigestInvalid, s, err)
	}
	if _, err := ParseAlgorithm(d.Algorithm().String()); err != nil {
		return "", err
	}
	return d, nil
}

// ParseAlgorithm parses the name of an algorithm that ParseDigest takes. The error wraps
// ErrDigestInvalid.
func ParseAlgorithm(s string) (digest.Algorithm, error) {
	if a := digest.Algorithm(s); a == digest.SHA256 || a == digest.SHA512 {
		return a, nil
	}
	return "", fmt.Errorf("%w: the algorithm must be sha256 or sha512, not %q", ErrDigestInvalid, s)
}

// IsDigest says whether a reference is meant as a digest: tags cannot hold a colon.
func IsDigest(reference string) bool { return strings.Contains(reference, ":") }

// FallbackTag is the tag under which clients keep the referrers of subject on registries
// without a referrers API (distribution spec, "Referrers Tag Schema").
func FallbackTag(subject digest.Digest) string {
	encoded := subject.Encoded()
	return subject.Algorithm().String() + "-" + encoded[:min(len(encoded), 64)]
}

// belongsToDigest is how FallbackTag and cosign begin the tags of a digest.
var belongsToDigest = regexp.MustCompile(`^(sha256|sha512)-([0-9a-f]{64,})`)

// IsAttachmentTag says whether clients keep signatures, attestations or referrers of a
// manifest under a tag: cosign's sha256-….sig and the like, and the fallback tag.
func IsAttachmentTag(tag string) bool { return belongsToDigest.MatchString(tag) }

// AttachedTo is how the digest begins that such a tag belongs to: all of it but where
// FallbackTag cuts it short. It is empty for other tags.
func AttachedTo(tag string) string {
	parts := belongsToDigest.FindStringSubmatch(tag)
	if parts == nil {
		return ""
	}
	return parts[1] + ":" + parts[2]
}
