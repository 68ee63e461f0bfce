package tiers

import (
	"github.com/opencontainers/go-digest"
)

// The schema of the catalog. Repository names hold neither ':' nor '@', tags and digests
// no '/', so every key reads in one way only, and the order of keys is the order that the
// distribution spec asks of listings.
//
//	store/<store>/blob/<digest>                          where the bytes are: blobRecord
//	store/<store>/ref/<digest>/<tier>/<repo>@<manifest>  a manifest needs these bytes
//	store/<store>/ref/<digest>/.manifest/<tier>/<repo>   the manifest itself stands, seen or not, in the repository
//	store/<store>/ref/<digest>/.pin/<promotion>          a promotion needs these bytes
//	store/<store>/ref/<digest>/.record/<id>              an event tells of these bytes
//	store/<store>/ref/<digest>/.pulls/<id>               the record pulls/<id> tells of these bytes
//	store/<store>/intent/<key>                           an object is about to be written
//	store/<store>/condemned/<key>                        an object that nothing names is about to go: condemnedRecord
//	tier/<tier>/repo/<repo>                              the repository; its revision is the generation
//	tier/<tier>/manifest/<repo>@<digest>                 ManifestRecord
//	tier/<tier>/pushing/<repo>@<digest>                  its references are being written, before itself: pushingRecord
//	tier/<tier>/tag/<repo>:<tag>                         TagRecord
//	tier/<tier>/tagged/<repo>@<digest>/<tag>             the tags of a manifest: taggedRecord, or nothing
//	tier/<tier>/referrer/<repo>@<subject>/<digest>       ReferrerRecord
//	tier/<tier>/subject/<repo>@<subject>                 its revision grows when a referrer goes
//	tier/<tier>/orphaned/<repo>@<digest>                 retention took the manifest, what hangs on it follows: orphanedRecord
//	tier/<tier>/link/<repo>@<digest>                     the repository may read the blob: LinkRecord
//	tier/<tier>/usage/<prefix>                           what a quota counts: usageRecord
//	upload/<id>                                          uploadRecord
//	uploading/<tier>/<id>                                the session is open, where a tier limits them
//	catalog-id                                           the id of this catalog, as its marks in the buckets say
//	schema                                               what all records are known to be like: schemaRecord
//	session-key                                          authenticates the ids of uploads
//	rebuilt                                              it was made out of the ledger: rebuiltRecord
//	pinned/<promotion>/<ulid>                            what a batch of pins pinned
//	staged/<arrival>/<ulid>                              what a batch of an arrival staged
//	committed/<arrival>                                  everything it staged can be seen
//	event/<ulid>                                         Event, not sealed yet
//	quarantine/<digest>                                  nobody may pull it: Quarantine
//	quarantined                                          the generation of all quarantines: quarantinedRecord
//
// The keys of promotions, policies, runs, the ledger and pulls stand with their packages. What
// becomes of each kind when the catalog is rebuilt, says RecordKinds.

// Prefixes under which whole families of records are listed.
const (
	prefixUpload = "upload/"
	prefixEvent  = "event/"
)

// Records that there is one of.
const (
	sessionKeyKey = "session-key"
	catalogIDKey  = "catalog-id"
	schemaKey     = "schema"
	rebuiltKey    = "rebuilt"
)

func storePrefix(store, kind string) string { return "store/" + store + "/" + kind + "/" }

func blobKey(store string, d digest.Digest) string {
	return storePrefix(store, "blob") + d.String()
}

func refPrefix(store string, d digest.Digest) string {
	return storePrefix(store, "ref") + d.String() + "/"
}

func refKey(store string, d digest.Digest, tier, repo string, manifest digest.Digest) string {
	return refPrefix(store, d) + tier + "/" + repo + "@" + manifest.String()
}

func pinPrefix(store string, d digest.Digest) string { return refPrefix(store, d) + ".pin/" }

func pinKey(store string, d digest.Digest, promotion string) string {
	return pinPrefix(store, d) + promotion
}

// selfKey is the reference of a manifest to its own bytes. It comes and goes with the
// manifest's record.
func selfKey(store string, d digest.Digest, tier, repo string) string {
	return refPrefix(store, d) + ".manifest/" + tier + "/" + repo
}

func intentKey(store, object string) string { return storePrefix(store, "intent") + object }

func condemnedKey(store, object string) string { return storePrefix(store, "condemned") + object }

func repoPrefix(tier string) string { return "tier/" + tier + "/repo/" }

func repoKey(tier, repo string) string { return repoPrefix(tier) + repo }

func manifestsPrefix(tier string) string { return "tier/" + tier + "/manifest/" }

func manifestPrefix(tier, repo string) string { return manifestsPrefix(tier) + repo + "@" }

func manifestKey(tier, repo string, d digest.Digest) string {
	return manifestPrefix(tier, repo) + d.String()
}

func pushingKey(tier, repo string, d digest.Digest) string {
	return "tier/" + tier + "/pushing/" + repo + "@" + d.String()
}

func tagPrefix(tier, repo string) string { return "tier/" + tier + "/tag/" + repo + ":" }

func tagKey(tier, repo, tag string) string { return tagPrefix(tier, repo) + tag }

func taggedPrefix(tier, repo string, d digest.Digest) string {
	return taggedIn(tier, repo) + d.String() + "/"
}

func taggedIn(tier, repo string) string { return "tier/" + tier + "/tagged/" + repo + "@" }

func referrerPrefix(tier, repo string, subject digest.Digest) string {
	return "tier/" + tier + "/referrer/" + repo + "@" + subject.String() + "/"
}

func subjectPrefix(tier, repo string) string { return "tier/" + tier + "/subject/" + repo + "@" }

func subjectKey(tier, repo string, subject digest.Digest) string {
	return subjectPrefix(tier, repo) + subject.String()
}

func orphanedPrefix(tier, repo string) string { return "tier/" + tier + "/orphaned/" + repo + "@" }

func orphanedKey(tier, repo string, d digest.Digest) string {
	return orphanedPrefix(tier, repo) + d.String()
}

func linkKey(tier, repo string, d digest.Digest) string {
	return linkPrefix(tier) + repo + "@" + d.String()
}

func linkPrefix(tier string) string { return "tier/" + tier + "/link/" }

func usagePrefix(tier string) string { return "tier/" + tier + "/usage/" }

func committedKey(promotion string) string { return "committed/" + promotion }

func uploadingPrefix(tier string) string { return "uploading/" + tier + "/" }

func uploadingKey(tier, id string) string { return uploadingPrefix(tier) + id }

func uploadKey(id string) string { return prefixUpload + id }
