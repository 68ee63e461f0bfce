package tiers

// The kinds of findings. Scripts go by these names: they are never given another meaning.
// What a kind means, and what to do, each finding says itself.
const (
	// Bytes.

	KindObjectMissing    = "object-missing"    // I3: a blob's object is not there
	KindObjectSize       = "object-size"       // I1: a blob's object is longer or shorter than recorded
	KindObjectCorrupt    = "object-corrupt"    // I1: the bytes of an object are not what its digest says
	KindObjectUnreadable = "object-unreadable" // I1: the store does not give an object
	KindObjectUnsteady   = "object-unsteady"   // I1: the store gave other bytes once, and the right ones then
	KindBlobShared       = "blob-shared"       // I7: two blobs name one object
	KindBlobDoomed       = "blob-doomed"       // I3: a blob's object is also named by what is deleted
	KindStrayObject      = "stray-object"      // I8: nothing names an object
	KindStrayUpload      = "stray-upload"      // I8: nothing names a multipart upload
	KindIntentExpired    = "intent-expired"    // I8: an object was announced long ago, and never recorded
	KindBucketShared     = "bucket-shared"     // I8: another catalog uses the bucket too
	KindRecordInvalid    = "record-invalid"    // a record cannot be read
	KindRecordUnknown    = "record-unknown"    // I8: a record is of no family that anything reads
	KindNotConfigured    = "not-configured"    // the records of a tier or bucket that this configuration does not have were not looked at

	// Manifests, and what shows them.

	KindBytesMissing         = "manifest-bytes-missing" // I1: a manifest has no blob record
	KindManifestInvalid      = "manifest-invalid"       // I1: a manifest does not parse
	KindManifestRecord       = "manifest-record"        // I2: a manifest's record says other than the manifest
	KindBlobMissing          = "blob-missing"           // I2: a manifest needs a blob that the store does not have
	KindLinkMissing          = "link-missing"           // I2: a manifest needs a blob that its repository may not read
	KindLinkSize             = "link-size"              // I2: a link says another size than the blob's record
	KindChildMissing         = "child-missing"          // I2: an index needs a manifest that the repository does not have
	KindReferenceMissing     = "reference-missing"      // I3: nothing keeps the bytes that a manifest needs
	KindSelfReferenceMissing = "self-reference-missing" // I3: nothing keeps the bytes of a manifest
	KindTagDangling          = "tag-dangling"           // I2: a tag points at nothing
	KindTagRecord            = "tag-record"             // I2: a tag's record says other than the manifest's
	KindTaggedMissing        = "tagged-missing"         // I2: a tag is not listed with its manifest
	KindTaggedLeftOver       = "tagged-left-over"       // I2: a manifest lists a tag that does not point at it
	KindReferrerMissing      = "referrer-missing"       // I2: a manifest is not listed with its subject
	KindReferrerRecord       = "referrer-record"        // I2: a referrer is listed as other than it is
	KindReferrerLeftOver     = "referrer-left-over"     // I2: a subject lists a manifest that does not name it
	KindRepositoryMissing    = "repository-missing"     // I2: a repository is not listed

	// What is left over.

	KindReferenceOrphan = "reference-orphan" // I8: a reference of a manifest that does not exist
	KindLinkDangling    = "link-dangling"    // I8: a link whose blob is gone, and that nothing needs
	KindPushInterrupted = "push-interrupted" // I8: a push began to write references and did not end
	KindPinOrphan       = "pin-orphan"       // I8: a pin of a promotion that nobody works on
	KindStagedOrphan    = "staged-orphan"    // I8: the journal of an arrival that nobody works on
	KindCommittedOrphan = "committed-orphan" // I5: the commit record of an arrival that nobody works on
	KindMarkOrphan      = "mark-orphan"      // I5: a record is marked as of an arrival that nobody works on
	KindQuarantineCount = "quarantine-count" // the generation of the quarantines does not count those there are
	KindUsageDrift      = "usage-drift"      // the count of a quota is not what its repositories hold
)
