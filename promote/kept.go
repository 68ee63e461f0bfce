package promote

import (
	"slices"
	"strings"

	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// maxVerdict is how many bytes of a verdict are kept. The journal and the event hold it, in
// one transaction, and others write into it: what attestations say is in its messages.
const maxVerdict = 256 << 10

// kept is a verdict as the journal keeps it: where it is too long, each rule lists the first
// of its attestations and exceptions, and its texts are cut. What was decided, and by which
// rules, stays; the signed summary names all attestations.
func kept(v policy.Verdict) policy.Verdict {
	for most := 1 << 10; most > 0 && len(tiers.Encode(v)) > maxVerdict; most /= 2 {
		v.Rules = slices.Clone(v.Rules)
		for i := range v.Rules {
			r := &v.Rules[i]
			evidence, exceptions := r.Evidence[:min(len(r.Evidence), most)], r.Exceptions[:min(len(r.Exceptions), most/4)]
			r.Unlisted += len(r.Evidence) - len(evidence) + len(r.Exceptions) - len(exceptions)
			r.Evidence, r.Exceptions = evidence, exceptions
			r.Message, r.Remedy = cut(r.Message, 32*most), cut(r.Remedy, 32*most)
		}
	}
	return v
}

// cut shortens a text to so many bytes, as JSON shows it.
func cut(s string, most int) string {
	if len(s) <= most && len(tiers.Encode(s)) <= most+2 {
		return s
	}
	for s = s[:min(len(s), most)]; len(tiers.Encode(s)) > most+2; {
		s = s[:len(s)/8*7]
	}
	return strings.ToValidUTF8(s, "") + "…"
}
