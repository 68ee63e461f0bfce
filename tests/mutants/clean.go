package main

import "slices"

// clean is what a collection and retention leave alone, whatever comes meanwhile.
func clean() []mutant { return in("tiers/", slices.Concat(collections(), promises(), retention())) }

// collections is what does not go with the garbage.
func collections() []mutant {
	return []mutant{
		{"collect_blob.go", "bytes that are needed again", "[]Condition{Unchanged(record), None(refPrefix(p.store, d))}", "[]Condition{Unchanged(record)}", "^TestCollectWhileReliedUpon$"},
		{"collect_blob.go", "bytes that are promised again", "[]Condition{Unchanged(record), None(refPrefix(p.store, d))}", "[]Condition{None(refPrefix(p.store, d))}", "^TestCollectWhileReliedUpon$"},
		{"collect_blob.go", "bytes that are promised", "if !c.collection.blobLapsed(b.RenewedAt, c.began) {", "if c.collection.Promise < 0 {", "^TestCollect$|^TestPromise$"},
		{"collect_object.go", "what is being read", "case c.Now().Sub(condemned.At) > c.collection.Drain:", "case !condemned.At.IsZero():", "^TestCollect$|^TestCollectCondemnedBlob$"},
		{"collect_object.go", "what a blob names after all", "names(blob, o.key)", "names(blob, o.key+\"-\")", "^TestCollectCondemnedBlob$"},
		{"collect_object.go", "what could not be deleted is named still", "\"it stays for the next collection: \"+err.Error())\n\t\t\t\treturn nil\n", "\"it stays for the next collection: \"+err.Error())\n", "^TestCollectDeleteFails$"},
		{"collect_intent.go", "what is being written", "case c.began.Sub(intent.StartedAt) <= c.collection.Intent:", "case c.began.Before(intent.StartedAt):", "^TestCollect$|^TestCollectIntentInUse$"},
		{"collect_intent.go", "what was announced is named until it is gone", "Delete: []string{record.Key}, Put: []Put{c.condemn(p.store, object, d, 0, why)}}", "Delete: []string{record.Key}}", "^TestCollect$|^TestCollectIntentInUse$"},
		{"collect_link.go", "a link that a manifest needs again", "[]Condition{Unchanged(l.record), None(l.refs())}", "[]Condition{Unchanged(l.record)}", "^TestCollectWhileReliedUpon$|^TestCollectWhilePushing$"},
		{"collect_link.go", "a link that is promised again", "[]Condition{Unchanged(l.record), None(l.refs())}", "[]Condition{None(l.refs())}", "^TestCollectWhileReliedUpon$"},
		{"collect_reference.go", "references of a manifest that came meanwhile", "[]Condition{Absent(manifestKey(o.first.tier, o.first.repo, o.first.manifest)), Unchanged(o.marker)}", "[]Condition{Unchanged(o.marker)}", "^TestCollectUnmarkedWhilePushed$"},
		{"collect_reference.go", "references that a push begins to write", "[]Condition{Absent(manifestKey(o.first.tier, o.first.repo, o.first.manifest)), Unchanged(o.marker)}", "[]Condition{Absent(manifestKey(o.first.tier, o.first.repo, o.first.manifest))}", "^TestCollectUnmarkedWhilePushed$"},
		{"collect_reference.go", "references that a push writes", "return c.began.Sub(pushing.StartedAt) <= c.collection.Intent", "return c.began.Sub(pushing.StartedAt) < 0", "^TestCollectWhilePushing$"},
		{"collect_stray.go", "a stray is old by the store's clock", "c.began.Sub(at) > c.collection.Stray &&", "c.began.Sub(at) > 0 &&", "^TestCollectYoungStray$"},
		{"collect_stray.go", "a stray is old by its key", "c.began.Sub(ulid.Time(id.Time())) > c.collection.Stray", "id.Time() > 0", "^TestCollectYoungStray$"},
		{"collect_stray.go", "objects of another catalog", "why := w.doubt(alone); why != nil {", "why := w.doubt(nil); why != nil {", "^TestCollectSharedBucket$"},
		{"collect_stray.go", "objects that an unreadable session may name", "w.blind = true\n\t\t\t\tc.problem(\"\", record.Key", "c.problem(\"\", record.Key", "^TestCollectBlind$"},
		{"mark.go", "the mark of another catalog", "if id != r.id {", "if id == \"\" {", "^TestCollectSharedBucket$|^TestMark$"},
		{"collect_upload.go", "an upload under way", "c.began.Sub(state.touched()) <= c.collection.Upload", "c.began.Sub(state.touched()) < 0", "^TestCollectUploads$|^TestCollectUploadInUse$"},
	}
}

// promises is what a client that was told of a blob relies on.
func promises() []mutant {
	return []mutant{
		{"promise.go", "the bytes are kept from now on", "return Unchanged(record), []Put{{Key: record.Key, Value: Encode(b)}}", "return Unchanged(record), nil", "^TestPromise$|^TestCollectWhileReliedUpon$"},
		{"promise.go", "the right to read is kept from now on", "return Unchanged(record), []Put{{Key: record.Key, Value: Encode(l)}}", "return Unchanged(record), nil", "^TestPromise$|^TestCollectWhileReliedUpon$"},
		{"promise.go", "bytes that were condemned meanwhile", "[]Condition{linked, kept}", "append([]Condition{linked}, kept)[:1]", "^TestCollectWhileReliedUpon$|^TestPromiseBringsNothingBack$"},
		{"promise.go", "a link that went meanwhile", "[]Condition{linked, kept}", "append([]Condition{kept}, linked)[:1]", "^TestCollectWhileReliedUpon$|^TestPromiseBringsNothingBack$"},
	}
}

// retention is what does not go by the rules.
func retention() []mutant {
	return []mutant{
		{"retain_fate.go", "what a promotion begins to need", "conditions := []Condition{None(pins)}", "conditions := []Condition{}", "^TestRetainInterleaved$|^TestRetainPromotion$"},
		{"retain_fate.go", "what a tier above comes to have", "\t\tconditions = append(conditions, Absent(manifestKey(t.Name, k.repo.Name, d)))\n", "", "^TestRetainInterleaved$"},
		{"retain_look.go", "a tag that was pushed again", "\tl.conditions = append(l.conditions, Unchanged(tagged))\n", "", "^TestRetainInterleaved$|^TestRetainPushedAgain$"},
		{"retain_follow.go", "what is attached to something that came back", "\t\tconditions = append(conditions, gone)\n", "", "^TestRetainInterleaved$|^TestRetainAttached$"},
		{"retain_follow.go", "what is attached meanwhile is not forgotten", "change.If = append(change.If, None(attached[0]), None(attached[1]))", "change.If = append(change.If, conditions...)", "^TestRetainInterleaved$|^TestRetainAttachedEarly$"},
	}
}
