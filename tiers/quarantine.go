package tiers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// Quarantine. A digest that is in quarantine is content that nobody may pull, in whatever
// repository of whatever tier, and with it every manifest that holds it. The registry itself
// still reads it, and what is attached to it can still be pulled: it is evidence.
//
// The records quarantine/<digest> say what is, one of a digest. Each of their changes is a
// transaction that writes quarantined too, the generation of all of them: a pull reads that
// beside its own records, in one step, and has to look no further where it is the same as
// before. So once a quarantine was acknowledged, no replica answers a pull of it that began
// later.
//
// One that expires stays in force until some replica, asked for what it is about, finds by
// its own clock that the time has come, and takes it away in a transaction of the kind:
// before that nobody pulls the content, from then on everybody may, whatever their clocks say.
const (
	prefixQuarantine = "quarantine/"
	quarantinedKey   = "quarantined"

	maxQuarantines  = 100_000
	maxReason       = 1000 // characters
	quarantineBatch = 50   // that are taken away in one transaction, each with its event
)

// Expired is the actor of events of quarantines whose time was over.
const Expired = "expiry"

// Quarantine keeps a digest from being pulled.
type Quarantine struct {
	ID        string        `json:"id"` // ULID
	Digest    digest.Digest `json:"digest"`
	Reason    string        `json:"reason"`
	Owner     string        `json:"owner"` // who put it there
	CreatedAt time.Time     `json:"createdAt"`
	ExpiresAt time.Time     `json:"expiresAt,omitzero"` // never where it is zero
}

// quarantinedRecord is the generation of all quarantines: its revision grows with each change.
type quarantinedRecord struct {
	Count int `json:"count"`
}

// over says whether the time of a quarantine has come.
func (q Quarantine) over(now time.Time) bool {
	return !q.ExpiresAt.IsZero() && !now.Before(q.ExpiresAt)
}

// QuarantinedError refuses content. It is an oci.ErrDenied.
type QuarantinedError struct {
	Quarantine Quarantine
	Digest     digest.Digest // what was asked for: what is in quarantine, or holds it
}

// Error says what is quarantined, and why.
func (e *QuarantinedError) Error() string {
	return fmt.Sprintf("%v: %s", oci.ErrDenied, e.Quarantine.Holds(e.Digest))
}

// Unwrap makes errors.Is(err, oci.ErrDenied) true.
func (e *QuarantinedError) Unwrap() error { return oci.ErrDenied }

// Holds says of d, which is in quarantine or holds what is, why nobody may pull it.
func (q Quarantine) Holds(d digest.Digest) string {
	what := d.String() + " is in quarantine"
	if d != q.Digest {
		what = fmt.Sprintf("%s holds %s, which is in quarantine", d, q.Digest)
	}
	if !q.ExpiresAt.IsZero() {
		what += " until " + q.ExpiresAt.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("%s: %s (quarantine %s of %s)", what, q.Reason, q.ID, q.Owner)
}

func quarantineKey(d digest.Digest) string { return prefixQuarantine + d.String() }

// checkQuarantine says whether a digest may be put in quarantine so.
func (r *Registry) checkQuarantine(d digest.Digest, reason string, expires time.Time) error {
	if _, err := oci.ParseDigest(d.String()); err != nil {
		return err
	}
	if err := checkReason(reason); err != nil {
		return err
	}
	if reason == "" {
		return fmt.Errorf("%w: the reason is missing: whoever is refused is told it", oci.ErrRequestInvalid)
	}
	if !expires.IsZero() && !r.Now().Before(expires) {
		return fmt.Errorf("%w: the quarantine would expire at %s, which is over: want a time to come, or none", oci.ErrRequestInvalid, expires.UTC().Format(time.RFC3339))
	}
	return nil
}

func checkReason(reason string) error { return oci.CheckLine("the reason", reason, maxReason) }

// Quarantine puts a digest, which the registry need not have, in quarantine until expires,
// for ever where that is zero. Once nil is returned nobody pulls it. created is false where
// the same was put there before, for the same reason and time by the same actor; the error
// wraps oci.ErrConflict where it is there otherwise: nobody shortens by accident what
// another has put there for ever.
func (r *Registry) Quarantine(ctx context.Context, actor string, d digest.Digest, reason string, expires time.Time) (q Quarantine, created bool, err error) {
	if err := r.checkQuarantine(d, reason, expires); err != nil {
		return Quarantine{}, false, err
	}
	if !expires.IsZero() {
		expires = expires.UTC()
	}
	q = Quarantine{ID: r.NewID(), Digest: d, Reason: reason, Owner: actor, CreatedAt: r.Now(), ExpiresAt: expires}
	err = Retry(ctx, func() error {
		there, record, all, err := r.quarantine(ctx, d)
		if err != nil {
			return err
		}
		if there != nil {
			if there.Reason != reason || there.Owner != actor || !there.ExpiresAt.Equal(expires) {
				return &alreadyError{*there}
			}
			q, created = *there, false
			return nil
		}
		if all.count >= maxQuarantines {
			return fmt.Errorf("%w: %d digests are in quarantine, which is the most: lift what is not needed", oci.ErrTooLarge, all.count)
		}
		change := r.changesQuarantines(all, 1)
		change.If = append(change.If, Unchanged(record))
		change.Put = append(change.Put, Put{Key: record.Key, Value: Encode(q)},
			r.EventPut(Event{Type: EventQuarantined, Actor: actor, Digest: d, Cause: reason, Body: Encode(q)}))
		created = true
		return r.commitQuarantines(ctx, all, change)
	})
	var already *alreadyError
	if errors.As(err, &already) { // beyond Retry: asking again changes nothing
		return already.Quarantine, false, fmt.Errorf("%w: %s: lift that first", oci.ErrConflict, already.Holds(d))
	}
	if err != nil {
		return Quarantine{}, false, fmt.Errorf("quarantine %s: %w", d, err)
	}
	return q, created, nil
}

// alreadyError says that a digest is in quarantine already, for something else.
type alreadyError struct{ Quarantine }

func (e *alreadyError) Error() string { return e.Holds(e.Digest) }

// LiftQuarantine lets a digest be pulled again. The error wraps oci.ErrQuarantineUnknown.
func (r *Registry) LiftQuarantine(ctx context.Context, actor string, d digest.Digest, reason string) (q Quarantine, err error) {
	return r.liftQuarantine(ctx, actor, d, "", reason)
}

// LiftThatQuarantine lifts the quarantine of an id, and no other of its digest.
func (r *Registry) LiftThatQuarantine(ctx context.Context, actor string, that Quarantine, reason string) error {
	_, err := r.liftQuarantine(ctx, actor, that.Digest, that.ID, reason)
	return err
}

// liftQuarantine lifts that of an id; whichever it is where that is empty.
func (r *Registry) liftQuarantine(ctx context.Context, actor string, d digest.Digest, id, reason string) (q Quarantine, err error) {
	if err := checkReason(reason); err != nil {
		return q, err
	}
	err = Retry(ctx, func() error {
		there, record, all, err := r.quarantine(ctx, d)
		if err != nil {
			return err
		}
		if there == nil || id != "" && there.ID != id {
			return fmt.Errorf("%w: %s", oci.ErrQuarantineUnknown, d)
		}
		q = *there
		change := r.changesQuarantines(all, -1)
		change.If = append(change.If, Unchanged(record))
		change.Delete = []string{record.Key}
		change.Put = append(change.Put, r.EventPut(Event{Type: EventQuarantineLifted, Actor: actor, Digest: d, Cause: reason, Body: record.Value}))
		return r.commitQuarantines(ctx, all, change)
	})
	if err != nil {
		return Quarantine{}, fmt.Errorf("lift quarantine: %w", err)
	}
	return q, nil
}

// quarantines is the generation of all quarantines, as it was read.
type quarantines struct {
	record Record
	count  int
}

// changesQuarantines is the change that makes so many quarantines more.
func (r *Registry) changesQuarantines(all quarantines, more int) Change {
	return Change{If: []Condition{Unchanged(all.record)},
		Put: []Put{{Key: quarantinedKey, Value: Encode(quarantinedRecord{Count: max(all.count+more, 0)})}}}
}

// commitQuarantines makes a change that changesQuarantines began. What this replica knew of the
// former generation it knows of the new one, and need not list it.
func (r *Registry) commitQuarantines(ctx context.Context, all quarantines, change Change) error {
	revision, err := r.catalog.Commit(ctx, change)
	if err == nil {
		r.quarantined.advance(all.record.Revision, revision, change)
	}
	return err
}

// quarantine reads the quarantine of a digest, nil where there is none, and the generation
// of all, at one revision. One that is over is taken away.
func (r *Registry) quarantine(ctx context.Context, d digest.Digest) (q *Quarantine, record Record, all quarantines, err error) {
	records, err := r.catalog.Get(ctx, quarantineKey(d), quarantinedKey)
	if err != nil {
		return nil, record, all, err
	}
	record, all.record = records[0], records[1]
	if all.record.Revision != 0 {
		generation, err := Decode[quarantinedRecord](all.record)
		if err != nil {
			return nil, record, all, err
		}
		all.count = generation.Count
	}
	if record.Revision == 0 {
		return nil, record, all, nil
	}
	found, err := Decode[Quarantine](record)
	if err != nil {
		return nil, record, all, err
	}
	if !found.over(r.Now()) {
		return &found, record, all, nil
	}
	if err := r.expire(ctx, all, []Record{record}); err != nil {
		return nil, record, all, err
	}
	return r.quarantine(ctx, d)
}

// expire takes away quarantines that are over, at most quarantineBatch. A conflict is for
// the caller to look again.
func (r *Registry) expire(ctx context.Context, all quarantines, records []Record) error {
	change := r.changesQuarantines(all, -len(records))
	for _, record := range records {
		change.If, change.Delete = append(change.If, Unchanged(record)), append(change.Delete, record.Key)
		change.Put = append(change.Put, r.EventPut(Event{Type: EventQuarantineLifted, Actor: Expired,
			Digest: digest.Digest(strings.TrimPrefix(record.Key, prefixQuarantine)), Cause: "its time was over", Body: record.Value}))
	}
	return r.commitQuarantines(ctx, all, change)
}

// QuarantineOf finds the quarantine of a digest itself. The error wraps
// oci.ErrQuarantineUnknown.
func (r *Registry) QuarantineOf(ctx context.Context, d digest.Digest) (q Quarantine, err error) {
	err = Retry(ctx, func() error {
		there, _, _, err := r.quarantine(ctx, d)
		if err == nil && there == nil {
			err = fmt.Errorf("%w: %s", oci.ErrQuarantineUnknown, d)
		}
		if err == nil {
			q = *there
		}
		return err
	})
	return q, err
}

// Quarantines lists at most n quarantines by digest, after last. next is what to ask for as
// last to go on; empty at the end. A page may be short: what is over is taken away.
func (r *Registry) Quarantines(ctx context.Context, last string, n int) (page []Quarantine, next string, err error) {
	records, next, err := r.page(ctx, Query{Prefix: prefixQuarantine}, last, n)
	if err != nil {
		return nil, "", err
	}
	page = []Quarantine{}
	var over []digest.Digest
	for _, record := range records {
		q, err := Decode[Quarantine](record)
		if err != nil {
			return nil, "", err
		}
		if q.over(r.Now()) {
			over = append(over, q.Digest)
			continue
		}
		page = append(page, q)
	}
	for batch := range slices.Chunk(over, quarantineBatch) {
		if err := Retry(ctx, func() error { return r.expireAll(ctx, batch) }); err != nil {
			return nil, "", fmt.Errorf("take away quarantines that are over: %w", err)
		}
	}
	return page, next, nil
}

// expireAll takes away those of some quarantines that are there and over.
func (r *Registry) expireAll(ctx context.Context, digests []digest.Digest) error {
	keys := []string{quarantinedKey}
	for _, d := range digests {
		keys = append(keys, quarantineKey(d))
	}
	records, err := r.catalog.Get(ctx, keys...)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	generation, err := Decode[quarantinedRecord](records[0])
	if err != nil {
		return err
	}
	all := quarantines{records[0], generation.Count}
	over := slices.DeleteFunc(records[1:], func(record Record) bool {
		q, err := Decode[Quarantine](record)
		return record.Revision == 0 || err != nil || !q.over(r.Now())
	})
	if len(over) == 0 {
		return nil
	}
	return r.expire(ctx, all, over)
}

// QuarantineCount is how many digests are in quarantine, as this replica saw it last: with the
// last pull, say. It asks nobody.
func (r *Registry) QuarantineCount() int { return len(r.quarantined.now.Load().digests) }
