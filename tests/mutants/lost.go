package main

import "slices"

// lost is what keeps acknowledged content through crashes, races and faults. The tests of
// these packages take minutes; each entry names those that look at it.
func lost() []mutant {
	return slices.Concat(
		in("tiers/", uploads(), manifests(), deletions(), contents(), arrivals()),
		in("tiers/s3/", answers()),
		in("promote/", journals()),
	)
}

// uploads is what makes a blob of what clients send.
func uploads() []mutant {
	return []mutant{
		{"announce.go", "a key is used once", `announced{key: "blobs/" + a.registry.NewID(), at: now}`, `announced{key: "blobs/one", at: now}`, "^TestUploadFaults$|^TestWholeUploadFaults$"},
		{"announce.go", "a key is announced before its use", `change.Put = append(change.Put, Put{Key: intentKey(a.store, batch[i].key), Value: intent})`, `change.Put = append(change.Put, Put{Key: intentKey(a.store, batch[i].key+"-"), Value: intent})`, "^TestUpload$|^TestWholeUploadFaults$"},
		{"append.go", "part numbers are claimed", `u.state.NextPart, u.state.NextTail = w.claimed, w.state.NextTail`, `u.state.NextTail = w.state.NextTail`, "^TestUploadRacingChunks$|^TestUploadFaults$"},
		{"append.go", "a tail that is replaced is remembered", `w.state.Old = append(w.state.Old[:len(w.state.Old):len(w.state.Old)], w.state.Tail.Key)`, `_ = w.state.Tail.Key`, "^TestUploadFaults$|^TestUpload$"},
		{"upload.go", "the session is as it was read", "If:  []Condition{Unchanged(u.record)},\n\t\tPut: []Put{{Key: u.record.Key, Value: value}},", "Put: []Put{{Key: u.record.Key, Value: value}},", "^TestUploadRac"},
		{"session.go", "a session is closed before its objects go", "\tu.state.Dropped = true\n\tif err := u.save(ctx); err != nil {\n\t\treturn err\n\t}\n", "\tu.state.Dropped = true\n", "^TestUploadCancelRacesChunk$|^TestUploadDropRacesFinish$"},
		{"session.go", "an id is somebody's", "if !hmac.Equal([]byte(proof), []byte(r.sessionMAC(made, suffix))) {", "if !hmac.Equal([]byte(proof), []byte(r.sessionMAC(made, suffix))) && proof == \"\" {", "^TestUploadOfOthers$"},
		{"finish.go", "the digest is that of the content", "\tif got != want {\n\t\treturn u.mismatch(ctx, got, want)", "\tif got == \"\" {\n\t\treturn u.mismatch(ctx, got, want)", "^TestUploadWrongDigest$"},
		{"finish.go", "the digest of a whole blob", "\tcase got == want:\n\t\ts.recorded, err = u.recordBlob(ctx, o, want)", "\tcase got != \"\":\n\t\ts.recorded, err = u.recordBlob(ctx, o, want)", "^TestWholeUploadWrongDigest$|^TestUploadWrongDigest$"},
		{"finish.go", "an ended session is as it was", "\t\tchange.If = append(change.If, Unchanged(u.record))\n\t\tchange.Put = append(change.Put, Put{Key: u.record.Key, Value: Encode(*done), Expire: expire})", "\t\tchange.Put = append(change.Put, Put{Key: u.record.Key, Value: Encode(*done), Expire: expire})", "^TestUploadRacingFinishes$|^TestUploadDropRacesFinish$"},
		{"finish.go", "the blob is recorded as it was read", "\tchange.If = []Condition{Unchanged(known)}\n", "\tchange.If = []Condition{Absent(\"-\")}\n", "^TestUploadRacingFinishes$|^TestUploadDuplicate$"},
		{"finish.go", "an object is recorded while its intent stands", "change.If, change.Delete = append(change.If, Present(o.intent)), []string{o.intent}", "change.Delete = []string{o.intent}", "^TestWholeUploadGivenUp$"},
		{"finish.go", "a session names its objects until they are gone", "\tif len(done.Old) > 0 {\n\t\texpire = 0\n\t}\n", "", "^TestUploadFaults$|^TestUpload$"},
	}
}

// manifests is what has to be there, and to stay, for a manifest.
func manifests() []mutant {
	return []mutant{
		{"manifest.go", "a blob is there when its manifest comes", "\t\t\tIf: []Condition{Present(blobKey(t.store, b.Digest))},\n", "", "^TestPutManifestCondemned$"},
		{"manifest.go", "a child is there when its index comes", "\t\t\tIf:  []Condition{Present(manifestKey(t.Name, name, c.Digest))},\n", "", "^TestPushAndDeleteInterleaved$"},
		{"manifest.go", "references are written", "\t\t\t\t{Key: refKey(t.store, b.Digest, t.Name, name, p.desc.Digest)},\n", "", "^TestPutManifestRules$|^TestDeleteRules$"},
		{"manifest.go", "references that were taken away", "\tlast.If = append(last.If, Unchanged(marker))\n", "", "^TestPushNoticesLostReferences$"},
		{"manifest.go", "the manifest is as it was read", "\tchange.If = append(change.If, Unchanged(record))\n\tchange.Put = append(change.Put, Put{Key: repoKey(t.Name, name)", "\tchange.Put = append(change.Put, Put{Key: repoKey(t.Name, name)", "^TestPushAndDeleteInterleaved$"},
		{"tag.go", "a tag is where it was read", "\tchange.If = append(change.If, Unchanged(record))\n\tchange.Put = append(change.Put,\n\t\tPut{Key: record.Key, Value: Encode(value)},", "\tchange.Put = append(change.Put,\n\t\tPut{Key: record.Key, Value: Encode(value)},", "^TestTagContention$|^TestPushTagsMovedMeanwhile$|^TestPushAndDeleteInterleaved$"},
		{"stage.go", "a manifest's bytes are there still", "\t\tunchanged, renewed := s.registry.renew(record, blob)\n\t\tchange.If = append(change.If, unchanged)\n", "\t\t_, renewed := s.registry.renew(record, blob)\n", "^TestPutManifestBytesCondemned$"},
		{"stage.go", "an object goes before its intent", "\tif err := t.Bucket.Delete(ctx, object); err != nil {\n\t\treturn err\n\t}\n\t_, err = r.catalog.Commit(ctx, Change{Delete: []string{intentKey(t.store, object)}})\n\treturn err\n", "\tif _, err := r.catalog.Commit(ctx, Change{Delete: []string{intentKey(t.store, object)}}); err != nil {\n\t\treturn err\n\t}\n\treturn t.Bucket.Delete(ctx, object)\n", "^TestWithdrawFaults$"},
	}
}

// deletions is what must not go.
func deletions() []mutant {
	return []mutant{
		{"delete.go", "a child of an index stays", "append(append(change.If, Unchanged(record), None(parents)), attached...)", "append(append(change.If, Unchanged(record)), attached...)", "^TestPushAndDeleteInterleaved$"},
		{"delete.go", "a manifest that was tagged meanwhile", "append(append(change.If, Unchanged(record), None(parents)), attached...)", "append(append(change.If, None(parents)), attached...)", "^TestPushAndDeleteInterleaved$|^TestDeleteRaces$"},
		{"delete.go", "a tag that moved on", "\t\tchange.If = append(change.If, Unchanged(record), Present(prefix+tags[i]))\n", "", "^TestPushAndDeleteInterleaved$|^TestDeleteSparesMovedTags$"},
		{"delete.go", "references of a manifest that exists", "change := Change{If: []Condition{Absent(manifest)}, Delete:", "change := Change{Delete:", "^TestDeleteRules$"},
		{"delete.go", "a push that writes its references", "Delete: []string{record.Key, pushing}}", "Delete: []string{record.Key}}", "^TestPushNoticesLostReferences$"},
		{"blob.go", "a blob that a manifest needs", "If:     []Condition{Present(linkKey(r.Tier.Name, r.Name, d)), None(refs)},", "If:     []Condition{Present(linkKey(r.Tier.Name, r.Name, d))},", "^TestPushAndDeleteInterleaved$"},
		{"blob.go", "a blob that is mounted is the source's", "If: []Condition{unchanged, Present(linkKey(from.Tier.Name, from.Name, d))},", "If: []Condition{unchanged},", "^TestMountInterleaved$"},
		{"blob.go", "a blob that is mounted is there", "If: []Condition{unchanged, Present(linkKey(from.Tier.Name, from.Name, d))},", "If: append([]Condition{unchanged}[:0], Present(linkKey(from.Tier.Name, from.Name, d))),", "^TestMountInterleaved$"},
	}
}

// contents is what a promotion brings.
func contents() []mutant {
	return []mutant{
		{"bring.go", "a key is used once", "c.object = objectKey(c.Digest, r.NewID())", "c.object = objectKey(c.Digest, \"one\")", "^TestBringAllFaults$|^TestBringAgain$"},
		{"bring.go", "a blob is recorded as it was read", "change.If = append(change.If, Unchanged(c.record), Present(intent))", "change.If = append(change.If, Present(intent))", "^TestBringAll$"},
		{"bring.go", "an object is recorded while its intent stands", "change.If = append(change.If, Unchanged(c.record), Present(intent))", "change.If = append(change.If, Unchanged(c.record))", "^TestBringGivenUp$"},
		{"bring.go", "what was not applied is no result", "\t\tif c.proven && c.err == nil {", "\t\tif c.proven {", "^TestBringAll$|^TestBringAllFaults$"},
		{"bring.go", "what broke off is not recorded", "!c.proven })", "c.object == \"\" })", "^TestBringCorrupt$|^TestBringAgain$"},
		{"transfer.go", "a copy is proven", "\tif err == nil {\n\t\terr = prove(", "\tif err == nil && how == Streamed {\n\t\terr = prove(", "^TestBringCorrupt$"},
		{"transfer.go", "the store's checksum is the content's", "if info.SHA256 != d.Encoded() {", "if info.SHA256 == \"\" {", "^TestBringCorrupt$"},
		{"transfer.go", "what has no checksum is read back", "\tif got != d {", "\tif got == \"\" {", "^TestBringCorrupt$"},
		{"transfer.go", "parts that break off go", "return errors.Join(err, bucket.Abort(ctx, c.object, id))", "return errors.Join(err, ctx.Err())", "^TestBringInParts$"},
		{"pin.go", "pins compare the owner", "change := Change{If: slices.Clone(fence), Put: []Put{{Key: pinnedPrefix(id)", "change := Change{Put: []Put{{Key: pinnedPrefix(id)", "^TestFence$"},
		{"pin.go", "what is pinned is there", "\t\t\t\tchange.If = append(change.If, Present(blobKey(t.store, d)))\n", "\t\t\t\tcontinue\n", "^TestPin$"},
		{"pin.go", "pins are found again", "change.Put = append(change.Put, Put{Key: pinKey(t.store, d, id)})", "change.Put = append(change.Put, Put{Key: pinKey(t.store, d, id+\"-\")})", "^TestPin$"},
	}
}

// arrivals is what becomes visible in one step.
func arrivals() []mutant {
	return []mutant{
		{"staging.go", "what is staged compares the owner", "\ts.change.If = append(s.change.If, s.arrival.fence...)\n", "", "^TestFence$"},
		{"staging.go", "a blob is there when its manifest is staged", "\t\ts.require(Present(blobKey(t.store, desc.Digest)))\n", "", "^TestStageCondemned$"},
		{"staging.go", "a link that is shown is there still", "\t\ts.require(Present(key))\n\t\treturn nil\n", "\t\treturn nil\n", "^TestStageUnlinked$"},
		{"staging.go", "a link is as it was read", "\ts.require(Unchanged(s.records[key]))\n\ts.change.Put = append(s.change.Put, Put{Key: key, Value: Encode(LinkRecord{", "\ts.change.Put = append(s.change.Put, Put{Key: key, Value: Encode(LinkRecord{", "^TestArrivalsInterleaved$|^TestArrivalBatchesInterleaved$"},
		{"staging.go", "a manifest is as it was read", "\ts.require(Unchanged(s.records[key]))\n\ts.require(Present(blobKey(t.store, d)))\n", "\ts.require(Present(blobKey(t.store, d)))\n", "^TestArrivalsInterleaved$|^TestArrivalBatchesInterleaved$"},
		{"staging.go", "a wide manifest comes whole", "\tif !p.first && !slices.Contains(pending, s.arrival.ID) {", "\tif false {", "^TestArrivalsInterleaved$"},
		{"arrival.go", "what two stage of a wide manifest goes with the last", "\tif err != nil || !entry.Wide {\n", "\tif err != nil || entry.Wide {\n", "^TestArrivalsInterleaved$"},
		{"staging.go", "a batch names all that it wrote", "\tjournal.More = s.entries[1:]\n", "", "^TestArrivalBatches$|^TestArrivalRollback$"},
		{"arrival.go", "what is committed is not rolled back", "return a.settle(ctx, Absent(committedKey(a.ID)),", "return a.settle(ctx, Absent(\"-\"),", "^TestArrival$"},
		{"arrival.go", "what is not committed is not shown", "return a.settle(ctx, Present(committedKey(a.ID)),", "return a.settle(ctx, Absent(\"-\"),", "^TestArrival$"},
		{"arrival.go", "the commit goes last", "\t\tif len(page) == 0 {\n\t\t\tbreak", "\t\tif len(page) < 100 {\n\t\t\tbreak", "^TestArrival$"},
		{"arrival.go", "what another has staged stays", "\t\tif len(left) == 0 {", "\t\tif len(left) >= 0 {", "^TestArrivalsShare$"},
		{"arrival.go", "references that another writes", "\t\t\tchange.If = append(change.If, Absent(manifest))\n", "", "^TestArrivalsInterleaved$"},
		{"repository.go", "an arrival that finishes between two looks", "again[0].Revision == record.Revision || again[0].Revision == 0 {", "again[0].Key == record.Key {", "^TestArrivalReadWhileFinishing$"},
	}
}

// answers is what a store has to prove.
func answers() []mutant {
	return []mutant{
		{"copy.go", "a copy without an ETag", "\tif etag == \"\" {", "\tif etag == \"-\" {", "^TestCopyUnproved$"},
		{"copy.go", "a failed copy leaves no parts", "\t\t\ts.drop(ctx, key, id)\n\t\t\treturn s.failed(", "\t\t\treturn s.failed(", "^TestCopyUnproved$"},
		{"proof.go", "a put without an ETag", "\tcase r.etag == \"\":", "\tcase r.etag == \"-\":", "^TestPutUnproved$|^TestStore$"},
		{"multipart.go", "a completed object that is not there", "case statErr != nil && errors.Is(statErr, oci.ErrObjectUnknown):\n", "case statErr != nil && errors.Is(statErr, oci.ErrObjectUnknown):\n\t\treturn nil\n\tcase false:\n", "^TestCompleteUnproved$"},
		{"multipart.go", "a completed object of another size", "\tcase found.Size != size:\n", "\tcase found.Size < 0:\n", "^TestCompleteUnproved$"},
		{"objects.go", "a checksum of checksums", "if info.ChecksumMode != minio.ChecksumFullObjectMode.String() {", "if info.ChecksumMode == \"-\" {", "^TestChecksum$"},
		{"objects.go", "another range than was asked for", "if want < 0 || (!whole && !strings.HasPrefix(header.Get(\"Content-Range\"), begin)) {", "if want < 0 || (!whole && !strings.HasPrefix(header.Get(\"Content-Range\"), begin[:6])) {", "^TestWrongRange$"},
	}
}

// journals is who may carry out a promotion, and what it leaves.
func journals() []mutant {
	return []mutant{
		{"journal.go", "a journal is as it was read", "\tchange.If = append(change.If, tiers.Unchanged(o.record))\n", "", "^TestFormerOwner$|^TestTakeOverRace$"},
		{"journal.go", "the same is promoted once", "append([]tiers.Condition{tiers.Unchanged(pointer)}, extra.If...)", "append([]tiers.Condition{}, extra.If...)", "^TestAskedAtOnce$"},
		{"move.go", "what is staged compares the journal", "m.fence = tiers.Unchanged(m.o.record)", "m.fence = tiers.Present(m.o.record.Key)", "^TestFormerOwner$|^TestPausedAtEachWrite$"},
		{"move.go", "what rises is there still", "{m.source.HasManifest(m.o.Digest), ", "{", "^TestInterleaved$"},
		{"move.go", "what moved is told of in the event", "\tchange.Put = append(change.Put, keep)\n", "\t_ = keep\n", "^TestRecordKept$"},
		{"run.go", "a late commit is fenced off before anything goes", "\tif err := e.write(ctx, o, tiers.Change{}); err != nil {\n\t\tif errors.Is(err, oci.ErrConflict) {", "\tif err := ctx.Err(); err != nil {\n\t\tif errors.Is(err, oci.ErrConflict) {", "^TestLateCommit$"},
		{"run.go", "what was cut off is rolled back", "\t\tif err := target.Arrival(o.arrival()).Rollback(ctx); err != nil {\n\t\t\treturn err\n\t\t}\n", "\t\t_ = target\n", "^TestFaultAtEachWrite$|^TestTakeOver$"},
		{"run.go", "what was pinned is let go", "\treturn e.registry.Unpin(ctx, o.arrival())\n}\n\n// arrived", "\treturn nil\n}\n\n// arrived", "^TestInterleaved$|^TestTakeOver$"},
		{"run.go", "an arrival is used once", "\to.Attempt++\n", "\to.Attempt = 1\n", "^TestTakenOverWhileTakingAway$"},
		{"run.go", "what is committed is finished", "\t\tif err := target.Arrival(o.arrival()).Finish(ctx); err != nil {\n\t\t\treturn err\n\t\t}\n", "\t\t_ = target\n", "^TestTakeOver$|^TestFormerOwner$"},
		{"recover.go", "a living owner's stays its own", "\t\tif err != nil || life.Revision != 0 {\n\t\t\treturn nil, err\n\t\t}\n", "\t\t_ = life\n\t\tif err != nil {\n\t\t\treturn nil, err\n\t\t}\n", "^TestTakeOverLiving$"},
		{"recover.go", "what is taken over is written down", "\tif !o.State.Terminal() {\n\t\to.Owner = e.owner", "\tif o.Attempt < 0 {\n\t\to.Owner = e.owner", "^TestTakenOverAtCommit$"},
		{"kept.go", "a long verdict fits the journal", "most > 0 && len(tiers.Encode(v)) > maxVerdict;", "most > 1<<20 && len(tiers.Encode(v)) > maxVerdict;", "^TestLongVerdict$"},
		{"turns.go", "large promotions leave room", "if !waits.large || t.large > 0 {", "if waits != nil {", "^TestTurns$"},
	}
}
