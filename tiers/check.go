package tiers

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"sluice.dev/sluice/oci"
)

// Subset is the part of the data that a check reads. At most one of its fields is set; none:
// all of it.
type Subset struct {
	Part, Of int64   // the Part'th of Of parts, by digest: after Of checks all was read
	Percent  float64 // of all objects, at random
	Bytes    int64   // about so many, at random
}

// subsetUnits are the units of a size, powers of 1024.
const subsetUnits = "KMGT"

var subsetGrammar = regexp.MustCompile(`^(?:([0-9]{1,9})/([0-9]{1,9})|([0-9]{1,3}(?:\.[0-9]{1,6})?)%|([0-9]{1,18})([` + subsetUnits + `]?))$`)

// ParseSubset reads a subset as people write it: 1/5, 10% or 500M. Empty: all. The error
// wraps oci.ErrRequestInvalid.
func ParseSubset(text string) (Subset, error) {
	if text == "" {
		return Subset{}, nil
	}
	invalid := fmt.Errorf("%w: subset %q: want a part as 1/5, a share as 10%%, or a size as 500M (K, M, G or T)", oci.ErrRequestInvalid, text)
	m := subsetGrammar.FindStringSubmatch(text)
	if m == nil {
		return Subset{}, invalid
	}
	number := func(s string) int64 {
		n, _ := strconv.ParseInt(s, 10, 64) // the grammar lets nothing else through
		return n
	}
	switch {
	case m[2] != "":
		if s := (Subset{Part: number(m[1]), Of: number(m[2])}); s.Part >= 1 && s.Part <= s.Of {
			return s, nil
		}
	case m[3] != "":
		percent, err := strconv.ParseFloat(m[3], 64)
		if err == nil && percent > 0 && percent <= 100 {
			return Subset{Percent: percent}, nil
		}
	case m[4] != "":
		n, shift := number(m[4]), 10*(strings.Index(subsetUnits, m[5])+1)
		if m[5] == "" {
			shift = 0
		}
		if n > 0 && n <= math.MaxInt64>>shift {
			return Subset{Bytes: n << shift}, nil
		}
	}
	return Subset{}, invalid
}
