package main

import "slices"

// held is what keeps content that is in quarantine from being pulled, and from rising.
func held() []mutant {
	return slices.Concat(in("tiers/", quarantines()), in("promote/", refusals()), in("server/", inspections()))
}

// quarantines is what every replica knows of them.
func quarantines() []mutant {
	return []mutant{
		{"repository.go", "a manifest that is pulled", "err = r.refuse(ctx, generation, desc)", "err = r.refuse(ctx, Record{Key: generation.Key}, desc)", "^TestQuarantine$"},
		{"blob.go", "a blob that is pulled", "r.refuse(ctx, found.generation,", "r.refuse(ctx, Record{},", "^TestQuarantine$"},
		{"blob.go", "a blob that is mounted", "from.ForPull().Blob(ctx, d)", "from.Blob(ctx, d)", "^TestQuarantinePush$"},
		{"manifest.go", "what is pushed while it is put in quarantine", "\tchange.If = append(change.If, Unchanged(p.records[quarantinedKey]))\n", "", "^TestQuarantinePush$"},
		{"quarantined.go", "what is in quarantine now", "if s := q.now.Load(); s.generation == generation {", "if s := q.now.Load(); s.generation != 0 {", "^TestQuarantineReplicas$"},
		{"quarantined.go", "what changes while it is listed", "if err != nil || records[0].Revision != generation {", "if err != nil || records[0].Revision < generation {", "^TestQuarantineWhileLoading$"},
		{"quarantined.go", "what a manifest held before", "ok && is && kept.generation == s.generation {", "ok && is && kept.generation != 0 {", "^TestQuarantine$"},
		{"quarantined.go", "what the manifests of an index hold", "below = append(below, child)", "below = below[:0]", "^TestQuarantine$"},
		{"quarantined.go", "what a manifest holds that was not there", "\tif !h.missing {\n", "\tif h.of == \"\" {\n", "^TestQuarantineOfLostBytes$"},
		{"etcd/batch.go", "who shares a read gets what he asked for", "records[i] = joined.records[place]", "records[i] = joined.records[i+0*place]", "^TestBatchShared$"},
		{"quarantine.go", "quarantines are counted one after the other", "Change{If: []Condition{Unchanged(all.record)},", "Change{If: []Condition{},", "^TestQuarantineAtOnce$"},
		{"quarantine.go", "what another has put there", "if there.Reason != reason || there.Owner != actor ||", "if there.Reason == \"\" ||", "^TestQuarantineRecords$"},
		{"quarantine.go", "one whose time is not over", "if !found.over(r.Now()) {", "if found.ExpiresAt.IsZero() {", "^TestQuarantineExpires$"},
		{"check_quarantine.go", "a generation that is missing", "if generation.Count == count {", "if generation.Count == count || record.Revision == 0 {", "^TestCheckPlanted"},
	}
}

// refusals is what does not rise, and does not count.
func refusals() []mutant {
	return []mutant{
		{"move.go", "what is put in quarantine before the commit", "m.source.HasManifest(m.o.Digest), m.plan.quarantined.Unchanged()}", "m.source.HasManifest(m.o.Digest)}", "^TestQuarantineInterleaved$"},
		{"journal.go", "what rose before it was in quarantine", "if p.held != nil { // what", "if p.held != nil && p.held.ID == \"\" { // what", "^TestQuarantined$"},
		{"promote.go", "what is in quarantine does not rise", "if err == nil && p.held != nil {", "if err == nil && p.held != nil && p.held.ID == \"\" {", "^TestQuarantined$"},
		{"plan.go", "evidence in quarantine does not count", "p.engine.registry.Now()), held[i])", "p.engine.registry.Now()), held[i][:0])", "^TestQuarantinedEvidence$"},
		{"carry.go", "evidence in quarantine stays behind", "} else if q != nil {", "} else if q != nil && q.ID == \"\" {", "^TestQuarantinedEvidence$"},
	}
}

// inspections is who pulls what is in quarantine.
func inspections() []mutant {
	return []mutant{
		{"v2_quarantine.go", "who may inspect", "\tif !s.inspects(r) {\n", "\tif !s.inspects(r) && r.route.name == \"\" {\n", "^TestQuarantine$"},
		{"v2_quarantine.go", "who pushes has to mean it", "return r.Request().Header.Get(HeaderQuarantine) == Inspect &&", "return r.Request() != nil &&", "^TestQuarantine$"},
		{"api_quarantine.go", "who may quarantine", "if err := s.allowQuarantine(c, ActionQuarantine); err != nil {\n\t\treturn err\n\t}\n\tvar request", "var request", "^TestQuarantineAccess$"},
	}
}
