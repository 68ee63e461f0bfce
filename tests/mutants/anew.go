package main

import "slices"

// anew is what makes a lost catalog the same again, and finds a live one to be another.
func anew() []mutant {
	return slices.Concat(in("tiers/", replaying(), rebuilding()), in("tiers/ledger/", heads()), in("promote/", comparing()))
}

// replaying is what events and manifests make.
func replaying() []mutant {
	return []mutant{
		{"replay.go", "a tag leaves the manifest that it pointed at", "\t\tm.Delete(taggedPrefix(tier, repo, before.Digest) + tag)\n", "", "^TestRebuild$"},
		{"replay.go", "a referrer that goes is told to who counts on it", "\tif e.Subject != \"\" {\n\t\tm.Put(subjectKey", "\tif e.Subject == \"-\" {\n\t\tm.Put(subjectKey", "^TestRebuild$"},
		{"replay.go", "tags go with their manifest", "\tfor _, tag := range e.Tags {", "\tfor _, tag := range e.Tags[:0] {", "^TestRebuild$"},
		{"replay.go", "an event that nobody knows", "\tif !ok {\n\t\treturn fmt.Errorf(\"event %s is of the type", "\tif !ok {\n\t\treturn nil\n\t}\n\tif false {\n\t\treturn fmt.Errorf(\"event %s is of the type", "^TestReplayUnknown$"},
		{"replay.go", "a quarantine that was lifted", "m.quarantined(e.Digest, nil, -1)", "m.quarantined(e.Digest, e.Body, 1)", "^TestRebuild$"},
		{"replay_complete.go", "what an index needs", "\tfor _, child := range n.children {\n\t\tm.Put(refKey", "\tfor _, child := range n.children[:0] {\n\t\tm.Put(refKey", "^TestRebuild$"},
		{"replay_complete.go", "how deep an index is", "c.depth(child.digest, \"\", level+1)+1)", "c.depth(child.digest, \"\", level+1)+2)", "^TestRebuild$"},
		{"replay_complete.go", "bytes that are not those of the digest", "\tif d.Algorithm().FromBytes(buf.Bytes()) != d {", "\tif d.Algorithm().FromBytes(buf.Bytes()) == \"\" {", "^TestRebuildCorrupt$"},
		{"replay_complete.go", "bytes that lapsed", "c.gone = append(c.gone, key)", "_ = append(c.gone, key)", "^TestRebuildLapsed$"},
	}
}

// rebuilding is what keeps a catalog that is not whole from being used.
func rebuilding() []mutant {
	return []mutant{
		{"rebuild.go", "a catalog that is not whole is not opened", "if err == nil && state.Writing {", "if err != nil && state.Writing {", "^TestRebuildCutOff$"},
		{"rebuild.go", "what a rebuild that was cut off has left goes", "\tif err := b.clear(ctx); err != nil {\n\t\treturn err\n\t}\n", "", "^TestRebuildCutOff$"},
		{"rebuild.go", "a catalog that somebody uses", "if !begun && !started {", "if !begun && !started && record.Key == \"\" {", "^TestRebuildRefuses$"},
		{"rebuild.go", "a server that is alive", "if err == nil && len(alive) > 0 {", "if err == nil && len(alive) < 0 {", "^TestRebuildRefuses$"},
		{"rebuild.go", "garbage is not collected unchecked", "\t\terr = errUnchecked\n", "", "^TestRebuild$"},
		{"rebuild.go", "a part of a check is none", "if !c.report.missesNothing() || c.options.Families == nil {", "if !c.report.missesNothing() {", "^TestRebuild$"},
		{"rebuild.go", "a check that has found something is none", "if !c.report.missesNothing() || c.options", "if c.options", "^TestRebuild$"},
		{"check_report.go", "strays do not keep garbage for ever", "r.now.Severity[Fault] == r.stray", "r.now.Severity[Fault] == 0", "^TestRebuild$"},
		{"rebuild.go", "of two rebuilds one goes on", "\t\tchange := Change{If: []Condition{Unchanged(b.state)}}\n\t\tfor size", "\t\tvar change Change\n\t\tfor size", "^TestRebuildOvertaken$"},
	}
}

// heads is from where sealing goes on.
func heads() []mutant {
	return []mutant{
		{"rebuild.go", "the next index", "Assigned: verified.Size,", "Assigned: verified.Size + 1,", "^TestRebuild$"},
		{"rebuild.go", "a log that is not sound", "if !verified.Sound || verified.HashesOnly {", "if verified.HashesOnly {", "^TestHead$"},
	}
}

// comparing is what of a live catalog is found to be other than the ledger says.
func comparing() []mutant {
	return []mutant{
		{"check_ledger.go", "what is not there", "\t\tif !there[key] && slices", "\t\tif there[key] && slices", "^TestLedgerCheck$"},
		{"check_ledger.go", "what is not sealed yet", "\tif err := k.sealed(ctx); err != nil {\n\t\treturn nil, err\n\t}\n", "", "^TestLedgerCheckWhile$"},
		{"check_ledger.go", "how a promotion ended", "if err != nil || !j.State.Terminal() {", "if err != nil || j.State != \"\" {", "^TestLedgerCheck$"},
		{"replay.go", "what a redecision found", "\tfor _, kept := range e.Records {", "\tfor _, kept := range e.Records[:0] {", "^TestRebuild$"},
		{"replay.go", "how an artifact stands since a redecision", "\ts.Allowed, s.Since = told.Allowed, told.Since\n", "\ts.Since = told.Since\n", "^TestRebuild$"},
		{"replay.go", "how many revocations there are", "revokedRecord{Count: all.Count + 1}", "revokedRecord{Count: all.Count + 2}", "^TestRebuild$"},
		{"replay.go", "what was decided anew is not decided again", "\t\tr.Model.Delete(prefixRedeciding + revocation.ID)\n", "", "^TestRebuild$"},
		{"replay.go", "by what a promotion is found again", "\tif j.Key != \"\" {", "\tif j.Key == \"\" {", "^TestRebuild$"},
		{"replay.go", "what a promotion lets a repository read", "\t\tif !slices.Contains(digests, c.Digest) {", "\t\tif slices.Contains(digests, c.Digest) {", "^TestRebuild$"},
		{"rebuild.go", "a ledger that is not sound is not believed", "err != nil || !done.Ledger.Sound {", "err != nil {", "^TestRebuildRefuses$"},
	}
}
