package main

import "slices"

// pulled is what says who has what.
func pulled() []mutant {
	return slices.Concat(in("tiers/pulls/", recording(), keeping(), looking()), in("tiers/", needed()), in("server/", gets()))
}

// recording is what a replica counts and writes.
func recording() []mutant {
	return []mutant{
		{"log.go", "memory is bounded by rows", "if len(l.counted) >= MaxRows || ", "if ", "^TestBounded$"},
		{"log.go", "memory is bounded by bytes", " || l.bytes+size > MaxBytes {", " {", "^TestBounded$"},
		{"log.go", "what does not fit is counted", "\t\tl.stats.Dropped++\n\t\tif !l.told", "\t\tif !l.told", "^TestBounded$"},
		{"log.go", "what is full is written at once", "\tif len(l.counted) == MaxRows && !l.told {", "\tif len(l.counted) < 0 && !l.told {", "^TestRun$"},
		{"log.go", "a share is recorded", "rand.Float64() >= l.config.Share", "rand.Float64() < 0", "^TestConfigured$"},
		{"writer.go", "a batch keeps its id", "\tb.tries++\n", "\tb.tries++\n\tb.id = b.id[:len(b.id)-26] + l.registry.NewID()\n", "^TestEachWriteFails$"},
		{"writer.go", "a batch that was written already", "\tif err == nil && records[0].Revision == 0 {\n", "\tif _ = records; err == nil {\n", "^TestEachWriteFails$"},
		{"writer.go", "a batch is given up", "if b.tries >= maxTries || ", "if ", "^TestGivesUp$"},
		{"writer.go", "who stops writes", "\t\t\tif err := l.Flush(last); err != nil {", "\t\t\tif err := last.Err(); err != nil {", "^TestRun$"},
	}
}

// keeping is what becomes of segments.
func keeping() []mutant {
	return []mutant{
		{"segment.go", "bytes are kept for the record", "{Key: l.tier.PullsKey(r.Digest, id)}", "", "^TestFind$|^TestMerge$"},
		{"segment.go", "a segment is replaced as it was read", "\tchange.If = append(change.If, tiers.Unchanged(s.record))\n", "", "^TestMergeRace$"},
		{"segment.go", "bytes are let go with the record", "\t\tchange.Delete = append(change.Delete, t.PullsKey(s.Digest, s.id()))\n", "\t\t_ = t\n", "^TestMerge$|^TestExpire$"},
		{"segment.go", "a segment has all its rows", "if err == nil && read != s.Rows {", "if err == nil && read < 0 {", "^TestCheck$"},
		{"merge.go", "a merge replaces what it took", "l.registry.NewID(), all, used...)", "l.registry.NewID(), all, used[1:]...)", "^TestMerge$"},
		{"merge.go", "a day stays as long as it is kept", "case day < expired:", "case day <= expired:", "^TestExpire$"},
		{"check.go", "a check looks for the bytes", "\tif now[2].Revision == 0 {", "\tif now[2].Revision < 0 {", "^TestCheck$"},
	}
}

// looking is what who asks is told.
func looking() []mutant {
	return []mutant{
		{"find.go", "a look goes on where segments were merged", "!errors.Is(err, errMerged) {", "err != nil || err == nil {", "^TestFindWhileMerging$"},
		{"find.go", "what is older", " || p.Last.Before(q.Since) {", " {", "^TestFind$"},
		{"find.go", "the first of all stay", "\t\tfor _, place := range places[f.n+1:] {", "\t\tfor _, place := range places[f.n:] {", "^TestPages$"},
		{"filter.go", "a filter lets through what is there", "f[at/8] |= 1 << (at % 8)", "f[at/8] = 1 << (at % 8)", "^TestFilter$"},
		{"pull.go", "the last pull counts", "if !other.Last.Before(p.Last) {", "if other.Last.Before(p.Last) {", "^TestFind$"},
	}
}

// needed is what else is asked for.
func needed() []mutant {
	return []mutant{
		{"affected.go", "what is in what holds it", "\t\t\t\t\tnext = append(next, above)\n", "", "^TestHolders$"},
		{"affected.go", "an answer is whole", "if s.truncated || len(s.digests) > most {", "if s.truncated && most < 0 {", "^TestHolders$"},
		{"check_reference.go", "bytes are kept for pulls that are recorded", "now[0].Revision == 0 || now[1].Revision != 0 {", "now[0].Revision == 0 || now[1].Revision >= 0 {", "^TestCheckPlanted$"},
	}
}

// gets is what counts as a pull, and who may know.
func gets() []mutant {
	return []mutant{
		{"v2_manifest.go", "a pull is recorded", "\ts.recordPull(r, m.desc.Digest)\n", "", "^TestPulls$"},
		{"api_pulls.go", "what was not sent is no pull", " || status != http.StatusOK && status != http.StatusPartialContent {", " || status < 0 && status != http.StatusOK {", "^TestPulls$"},
		{"api_quarantine.go", "a quarantine names who has what holds it", "\t\tq.Digests = append(q.Digests, a.Digest)\n", "\t\t_ = a\n", "^TestQuarantinePulledBy$"},
		{"api_pulls.go", "who pulled is for auditors", "\tif err := s.allowAudit(c); err != nil {\n\t\treturn err\n\t}\n\tfind, err", "\tfind, err", "^TestPulls$"},
	}
}
