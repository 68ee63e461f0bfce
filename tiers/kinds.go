package tiers

import "strings"

// Restored says how a kind of record comes back when a lost catalog is rebuilt from the
// buckets and the ledger.
type Restored string

// The ways in which records come back.
const (
	Replayed Restored = "replayed" // the events say it
	Computed Restored = "computed" // it follows from what was replayed, and from the bytes in the buckets
	Dropped  Restored = "dropped"  // it does not come back
)

// RecordKind is a kind of record that the catalog holds.
type RecordKind struct {
	// Family is what its keys begin with, where it ends in a slash, or its key. A * stands
	// for the name of a store or tier.
	Family   string
	Restored Restored
	Why      string
	// Own says that package tiers keeps it.
	Own bool
}

// RecordKinds lists all kinds of records, those of other packages too. Whoever adds a kind
// has to say here what a rebuild makes of it.
func RecordKinds() []RecordKind {
	return []RecordKind{
		{"store/*/blob/", Replayed, "events name object and size of what was stored; what lapsed since is found missing in the bucket", true},
		{"store/*/ref/", Computed, "the manifests say what they need, and the events which documents are kept", true},
		{"store/*/intent/", Dropped, "the writers are gone; what they wrote is a stray", true},
		{"store/*/condemned/", Dropped, "an object that nothing names is a stray, and is condemned anew", true},
		{"tier/*/repo/", Replayed, "a push or a tag made it", true},
		{"tier/*/manifest/", Replayed, "pushes, promotions and deletions; the depth of an index is computed", true},
		{"tier/*/pushing/", Dropped, "the push is gone", true},
		{"tier/*/tag/", Replayed, "", true},
		{"tier/*/tagged/", Replayed, "with the tag", true},
		{"tier/*/referrer/", Computed, "the manifest says its subject and its annotations", true},
		{"tier/*/subject/", Replayed, "with the deletion of a referrer", true},
		{"tier/*/orphaned/", Dropped, "what hung on it stays until a rule of retention is about itself", true},
		{"tier/*/link/", Replayed, "uploads, mounts, promotions and collections", true},
		{"tier/*/usage/", Dropped, "counted anew by the first who needs it", true},
		{prefixUpload, Dropped, "an upload that was under way begins anew", true},
		{"uploading/", Dropped, "with the uploads", true},
		{"catalog-id", Computed, "the marks in the buckets say it", true},
		{schemaKey, Computed, "that of what this version writes", true},
		{sessionKeyKey, Dropped, "made anew: no upload goes on", true},
		{rebuiltKey, Dropped, "says that the catalog was rebuilt", true},
		{"pinned/", Dropped, "promotions that were under way are asked for anew", true},
		{"staged/", Dropped, "the same", true},
		{committedKey(""), Dropped, "what it made visible is replayed as visible", true},
		{prefixEvent, Dropped, "what was not sealed is lost", true},
		{prefixQuarantine, Replayed, "", true},
		{quarantinedKey, Computed, "how many are in quarantine", true},

		{"promotion/", Replayed, "those that have ended", false},
		{"promotion-open/", Dropped, "promotions that were under way are asked for anew", false},
		{"promotion-waiting/", Dropped, "the same", false},
		{"promotion-key/", Replayed, "of promotions that have ended", false},
		{"standing/", Replayed, "the last decision; what was seen then is looked at anew", false},
		{"replica/", Dropped, "a sign of life", false},
		{"revocation/", Replayed, "", false},
		{"revoked", Computed, "how many revocations there are", false},
		{"redeciding/", Computed, "what was being decided anew begins anew", false},
		{"redecided/", Replayed, "but for what could not be decided", false},
		{"policy/", Replayed, "", false},
		{"tier-policy/", Replayed, "with the policy", false},
		{"ledger/head", Computed, "from the newest checkpoint: sealing goes on with the next index", false},
		{"ledger/sealer", Dropped, "whoever seals next claims it", false},
		{"ledger/batch/", Dropped, "what was not sealed is lost", false},
		{"ledger/promotion/", Computed, "the index of the event", false},
		{prefixPulls, Dropped, "who pulled what is no change of state, and leaves no event", false},
		{"run/", Dropped, "the history of collections and checks is told nowhere else", false},
		{"running/", Dropped, "nobody runs", false},
		{"began/", Dropped, "with the runs", false},
		{"webhook/", Dropped, "a receiver is served from now on, and may replay", false},
		{"delivering/", Dropped, "nobody delivers", false},
	}
}

// families are those that package tiers keeps behind prefix, or, where that is empty, that
// are of no store or tier.
func families(prefix string) []string {
	var all []string
	for _, kind := range RecordKinds() {
		rest, ok := strings.CutPrefix(kind.Family, prefix)
		if ok && kind.Own && !strings.Contains(rest, "*") {
			all = append(all, rest)
		}
	}
	return all
}

// KindOf finds the kind of a record.
func KindOf(key string) (RecordKind, bool) {
	name := key
	for _, prefix := range []string{"store/", "tier/"} {
		if rest, ok := strings.CutPrefix(key, prefix); ok {
			_, rest, _ = strings.Cut(rest, "/")
			name = prefix + "*/" + rest
		}
	}
	for _, kind := range RecordKinds() {
		if name == kind.Family || strings.HasSuffix(kind.Family, "/") && strings.HasPrefix(name, kind.Family) {
			return kind, true
		}
	}
	return RecordKind{}, false
}

func restoredFrom(key string) Restored {
	kind, _ := KindOf(key)
	return kind.Restored
}
