package tiers

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"sluice.dev/sluice/oci"
)

// Subset says which objects a check reads. At most one of the three ways is used; the zero
// value reads all.
type Subset struct {
	// Part of Of: objects fall into Of parts by their digests, always the same ones, so
	// that Of checks in turn read everything.
	Part int `json:"part,omitempty"` // 1 to Of
	Of   int `json:"of,omitempty"`   // 0: not used

	Percent float64 `json:"percent,omitempty"` // of all objects, drawn anew each time
	Bytes   int64   `json:"bytes,omitempty"`   // of objects drawn anew each time, about
}

// maxParts bounds how many checks it takes to read everything.
const maxSubsetParts = 10_000

// ParseSubset reads a subset as restic's check takes it: "2/7", "10%" or "500M", with the
// units K, M, G and T of 1024. The error wraps oci.ErrRequestInvalid. Empty is all.
func ParseSubset(s string) (Subset, error) {
	wrong := fmt.Errorf("%w: subset %q: want a part of parts, as 1/5 is, a percentage, as 10%% is, or a size, as 500M is", oci.ErrRequestInvalid, s)
	switch {
	case s == "":
		return Subset{}, nil
	case strings.Contains(s, "/"):
		before, after, _ := strings.Cut(s, "/")
		part, err := strconv.Atoi(before)
		of, ofErr := strconv.Atoi(after)
		if err != nil || ofErr != nil || part < 1 || part > of || of > maxSubsetParts {
			return Subset{}, wrong
		}
		return Subset{Part: part, Of: of}, nil
	case strings.HasSuffix(s, "%"):
		percent, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
		if err != nil || !(percent > 0 && percent <= 100) {
			return Subset{}, wrong
		}
		return Subset{Percent: percent}, nil
	}
	unit := int64(1)
	if i := strings.IndexByte("KMGT", strings.ToUpper(s)[len(s)-1]); i >= 0 {
		unit, s = 1<<(10*(i+1)), s[:len(s)-1]
	}
	size, err := strconv.ParseInt(s, 10, 64)
	if err != nil || size < 1 || size > math.MaxInt64/unit {
		return Subset{}, wrong
	}
	return Subset{Bytes: size * unit}, nil
}

// String is what ParseSubset reads.
func (s Subset) String() string {
	switch {
	case s.Of > 0:
		return fmt.Sprintf("%d/%d", s.Part, s.Of)
	case s.Percent > 0:
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	case s.Bytes > 0:
		return strconv.FormatInt(s.Bytes, 10)
	}
	return ""
}
