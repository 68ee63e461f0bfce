package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Reference names an artifact of a registry as users type it:
// host/tier/repository[:tag][@digest].
type Reference struct {
	Host       string
	Tier       string
	Repository string        // without the tier
	Tag        string        // empty if none
	Digest     digest.Digest // empty if none
}

// ParseReference parses host/tier/repository[:tag][@digest]. Where both are given the
// digest decides and the tag is kept for display, as docker does. Tag and digest may both
// be missing; callers that need one say so themselves.
func ParseReference(s string) (Reference, error) {
	var ref Reference
	host, rest, ok := strings.Cut(s, "/")
	if !ok || host == "" {
		return ref, fmt.Errorf("%w: %q: want host/tier/repository[:tag][@digest]", ErrNameInvalid, s)
	}
	ref.Host = host
	if name, d, ok := strings.Cut(rest, "@"); ok {
		parsed, err := ParseDigest(d)
		if err != nil {
			return Reference{}, err
		}
		ref.Digest, rest = parsed, name
	}
	if name, tag, ok := strings.Cut(rest, ":"); ok {
		if err := CheckTag(tag); err != nil {
			return Reference{}, err
		}
		ref.Tag, rest = tag, name
	}
	if err := CheckName(rest); err != nil {
		return Reference{}, err
	}
	ref.Tier, ref.Repository = SplitTier(rest)
	if ref.Repository == "" {
		return Reference{}, fmt.Errorf("%w: %q: want host/tier/repository, the tier is missing", ErrNameInvalid, s)
	}
	return ref, nil
}

// Name is the name under which clients know the repository: tier/repository.
func (r Reference) Name() string { return r.Tier + "/" + r.Repository }

// Target is what the reference points at: the digest where there is one, else the tag.
func (r Reference) Target() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}

// String renders the reference as it would be typed.
func (r Reference) String() string {
	s := r.Host + "/" + r.Name()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}
