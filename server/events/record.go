package events

import (
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// The records of the webhooks in the catalog.
//
//	webhook/<name>     cursor
//	delivering/<name>  hold: which replica delivers; expires
const (
	prefixCursor = "webhook/"
	prefixHold   = "delivering/"
)

// cursor is how far a webhook has come. Every write of it compares the revision that the
// writer read.
type cursor struct {
	// Next is the index of the first entry that is not done with.
	Next int64 `json:"next"`
	// Owner is the replica that delivers, or did last.
	Owner string `json:"owner"`
	// Config tells with which receiver the rest came about.
	Config    string    `json:"config"`
	Delivered *Delivery `json:"delivered,omitempty"`
	Answer    *Answer   `json:"answer,omitempty"`
	// Failures are the attempts for the entry Next that failed, FailingSince when the first did.
	Failures     int        `json:"failures,omitempty"`
	FailingSince *time.Time `json:"failingSince,omitempty"`
	NextTry      *time.Time `json:"nextTry,omitempty"`
	// Gone says that the receiver wants nothing more: it has answered 410.
	Gone bool `json:"gone,omitempty"`
}

// readCursor reads a record; the zero cursor where there is none. size is that of the ledger,
// read behind it: to wait until it gets to a cursor that is ahead of it would leave out what
// it holds then.
func readCursor(record tiers.Record, size int64) (cursor, error) {
	if record.Revision == 0 {
		return cursor{}, nil
	}
	now, err := tiers.Decode[cursor](record)
	if err == nil && (now.Next < 0 || now.Next > size) {
		err = fmt.Errorf("catalog record %s: %w: it stands at %d, and the ledger ends at %d", record.Key, oci.ErrCorrupt, now.Next, size)
	}
	return now, err
}

// hold says which replica delivers.
type hold struct {
	Owner string `json:"owner"`
}

// Delivery is an entry that a receiver has taken.
type Delivery struct {
	Index int64     `json:"index"`
	At    time.Time `json:"at"`
}

// Answer is what came of an attempt.
type Answer struct {
	Index  int64     `json:"index"` // of the entry
	At     time.Time `json:"at"`
	Status int       `json:"status,omitempty"` // of HTTP; 0: there was no answer
	Error  string    `json:"error,omitempty"`  // why the attempt failed
	Millis int64     `json:"millis"`           // that it took
}

// again clears what stands in the way of the next attempt.
func (c *cursor) again() {
	c.Failures, c.FailingSince, c.NextTry, c.Gone = 0, nil, nil, false
}

// State says how a webhook goes.
type State string

// The states of a webhook.
const (
	Active   State = "Active"   // what there is is delivered
	Retrying State = "Retrying" // the last attempt failed, and another follows
	Failing  State = "Failing"  // the same for longer than the webhook's bound: somebody should look
	Disabled State = "Disabled" // the receiver has answered 410: nothing is sent until it is configured anew or replayed
)

func (c cursor) state(w Webhook, now time.Time) State {
	switch {
	case c.Config != w.configuration():
		return Active // what is on record is of another receiver
	case c.Gone:
		return Disabled
	case c.FailingSince == nil:
		return Active
	case now.Sub(*c.FailingSince) >= w.FailAfter:
		return Failing
	}
	return Retrying
}
