package main

import (
	"fmt"
	"math"
	"regexp"

	"github.com/dustin/go-humanize"

	"sluice.dev/sluice/tiers"
)

// Size is a number of bytes as people write it: 500GiB, 1.5TB, 4096. Empty: not set.
type Size string

// sizeGrammar is the part of what the library reads that means one thing only.
var sizeGrammar = regexp.MustCompile(`^[0-9]+(\.[0-9]+)? ?([kKMGTP]?B|[KMGTP]iB)?$`)

// bytes is the size as a number, 0 where it is not set.
func (s Size) bytes() (int64, error) {
	if s == "" {
		return 0, nil
	}
	n, err := humanize.ParseBytes(string(s))
	if !sizeGrammar.MatchString(string(s)) || err != nil || n == 0 || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size: want bytes as 4096, 4MiB, 500GiB or 1.5TB", string(s))
	}
	return int64(n), nil
}

// badValue is a size or an age that cannot be read, by its field.
type badValue struct {
	field string
	err   error
}

// limits are the limits as the registry takes them, without the sizes that are bad.
func (l LimitsConfig) limits() (tiers.Limits, []badValue) {
	var bad []badValue
	size := func(field string, s Size) int64 {
		n, err := s.bytes()
		if err != nil {
			bad = append(bad, badValue{field, err})
		}
		return n
	}
	limits := tiers.Limits{
		BlobSize: size("blobSize", l.BlobSize), ManifestSize: size("manifestSize", l.ManifestSize),
		NameLength: l.NameLength, Uploads: l.Uploads, ImmutableTags: l.ImmutableTags, NoDelete: l.Delete != nil && !*l.Delete,
	}
	for i, q := range l.Quotas {
		limits.Quotas = append(limits.Quotas, tiers.Quota{Prefix: q.Prefix, Bytes: size(fmt.Sprintf("quotas[%d].size", i), q.Size)})
	}
	return limits, bad
}

// limits checks those of a tier.
func (c *checker) limits(at string, t TierConfig) {
	limits, bad := t.Limits.limits()
	known := map[string]bool{}
	for _, b := range bad {
		known[b.field] = true
		c.add(at+"."+b.field, "%v", b.err)
	}
	for _, p := range limits.Problems(t.Push) {
		switch {
		case p.Field == "":
			c.add(at, "%s", p.Text)
		case !known[p.Field]:
			c.add(at+"."+p.Field, "%s", p.Text)
		}
	}
}
