package promote

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// maxSeen is how many referrers of one artifact are compared.
const maxSeen = 20_000

// seen is what hangs on an artifact, as a hash: whether it is the same tells whether it is
// worth deciding anew. It is taken before the plan is made, so that what comes while the
// plan is being made differs from it. The zero value differs from all: where there is too
// much to compare, any change of the repository counts.
type seen struct {
	Subjects []digest.Digest `json:"subjects,omitempty"` // what evidence may be about
	Hash     string          `json:"hash,omitempty"`
}

// see takes what hangs on what is asked for, where anybody will compare it later.
func (e *Engine) see(ctx context.Context, source *reader, r Request) (seen, error) {
	to, err := e.registry.Tier(r.To)
	if err != nil || !r.Wait && r.WaitFor == "" && !to.FollowEvidence {
		return seen{}, err
	}
	desc, err := source.Resolve(ctx, r.Reference)
	if err != nil {
		return seen{}, err
	}
	platforms, _, err := platformsOf(ctx, source, desc, e.registry.Now())
	if err != nil {
		return seen{}, err
	}
	s := seen{Subjects: subjectsOf(desc, platforms)}
	if len(s.Subjects) > maxRelied {
		return seen{}, nil
	}
	s.Hash, err = s.now(ctx, source.Repository)
	return s, err
}

// now hashes what hangs on the subjects now; empty where that is too much.
func (s seen) now(ctx context.Context, source *tiers.Repository) (string, error) {
	h := sha256.New()
	enc := json.NewEncoder(h) // encoding strings to a hash cannot fail
	var tags []string
	count := 0
	for _, subject := range s.Subjects {
		for last := ""; ; {
			page, next, err := source.Referrers(ctx, subject, "", last, referrerPage)
			if err != nil {
				return "", err
			}
			for _, desc := range page {
				_ = enc.Encode([]string{subject.String(), desc.Digest.String()})
			}
			if count += len(page); count > maxSeen {
				return "", nil
			}
			if last = next; next == "" {
				break
			}
		}
		tag := oci.FallbackTag(subject)
		tags = append(tags, tag)
		for _, suffix := range cosignSuffixes {
			tags = append(tags, tag+suffix)
		}
	}
	for _, tag := range tags {
		desc, err := source.Resolve(ctx, tag)
		if err != nil && !errors.Is(err, oci.ErrManifestUnknown) {
			return "", err
		}
		_ = enc.Encode([]string{tag, desc.Digest.String()})
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// same says whether nothing has changed since it was taken.
func (s seen) same(ctx context.Context, source *tiers.Repository) (bool, error) {
	if s.Hash == "" {
		return false, nil
	}
	now, err := s.now(ctx, source)
	return err == nil && now == s.Hash, err
}
