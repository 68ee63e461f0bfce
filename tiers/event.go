package tiers

import (
	"time"

	"github.com/opencontainers/go-digest"
)

// EventType says what changed.
type EventType string

// The types of events. The log is for ever: names are never given a new meaning.
const (
	EventBlobPushed      EventType = "blob.pushed"      // bytes stored; a repository may read them
	EventBlobMounted     EventType = "blob.mounted"     // another repository may read them
	EventBlobDeleted     EventType = "blob.deleted"     // a repository may no longer read them
	EventManifestPushed  EventType = "manifest.pushed"  // a manifest, with a tag where one was given
	EventManifestDeleted EventType = "manifest.deleted" // a manifest and all its tags
	EventTagged          EventType = "tag.set"          // a tag made or moved
	EventUntagged        EventType = "tag.deleted"
	EventPromoted        EventType = "promotion.succeeded"
	EventRefused         EventType = "promotion.failed"  // the policy said no
	EventErrored         EventType = "promotion.errored" // it could not be decided or done
	EventWaiting         EventType = "promotion.waiting" // it waits for approvals
	EventStanding        EventType = "standing.changed"  // what stands in a tier would no longer pass, or would again
	EventPolicySet       EventType = "policy.set"
	EventRepaired        EventType = "check.repaired" // a check mended a fault: Body is the finding

	EventQuarantined      EventType = "quarantine.added"  // a digest can be pulled nowhere: Body is the Quarantine
	EventQuarantineLifted EventType = "quarantine.lifted" // it can again: Body is what the Quarantine was

	EventRevoked          EventType = "revocation.added"     // evidence counts no more: Body is the revocation
	EventRevocationLifted EventType = "revocation.lifted"    // it does again: Body is the revocation, with who lifted it
	EventRedecided        EventType = "revocation.redecided" // what rested on it was decided anew: Body is the revocation
)

// Event is one change of state, written in the transaction that made it and with all
// that it takes to make it again in an empty catalog. Fields that a type has no use for
// are left out.
type Event struct {
	ID         string    `json:"id"` // ULID; the catalog's revisions give the order
	Type       EventType `json:"type"`
	Time       time.Time `json:"time"`
	Actor      string    `json:"actor"`
	Tier       string    `json:"tier,omitempty"`
	Repository string    `json:"repository,omitempty"`
	Tag        string    `json:"tag,omitempty"`
	Tags       []string  `json:"tags,omitempty"`

	Digest       digest.Digest `json:"digest,omitempty"`
	MediaType    string        `json:"mediaType,omitempty"`
	ArtifactType string        `json:"artifactType,omitempty"`
	Subject      digest.Digest `json:"subject,omitempty"`
	Previous     digest.Digest `json:"previous,omitempty"` // where a moved or deleted tag pointed

	Store string `json:"store,omitempty"` // the bucket's identity
	Key   string `json:"key,omitempty"`   // of the bytes in it
	Size  int64  `json:"size,omitempty"`

	From   string `json:"from,omitempty"`  // mounted from this repository, promoted from this tier
	Cause  string `json:"cause,omitempty"` // the promotion, or the reason that was given
	Policy string `json:"policy,omitempty"`
	// Document is the digest of a larger record of the change, kept as the object Key of
	// Store: everything that a promotion moved.
	Document digest.Digest `json:"document,omitempty"`
	// Body is a small record of the change itself: a verdict, a policy.
	Body []byte `json:"body,omitempty"`
	// Records are what a repair or a redecision wrote, where the other fields do not say it.
	Records []EventRecord `json:"records,omitempty"`
}

// EventRecord is a record of the catalog as a change left it.
type EventRecord struct {
	Key     string `json:"key"`
	Value   []byte `json:"value,omitempty"`
	Deleted bool   `json:"deleted,omitempty"`
}
