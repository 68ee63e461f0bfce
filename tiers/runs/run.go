package runs

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sluice/oci"
)

// Kind is what a run does. Kinds are constants of the program: they stand in keys and labels.
type Kind string

// The kinds of runs.
const (
	Collection Kind = "collection" // of what nothing needs any more
	Check      Kind = "check"      // of the records against each other and the bytes
	Redecision Kind = "redecision" // of what rested on evidence that was revoked
)

// State is how far a run has come.
type State string

// The states of a run. All but the first are final.
const (
	Running     State = "Running"
	Succeeded   State = "Succeeded"   // it came to its end, whatever it found
	Failed      State = "Failed"      // it could not go on
	Interrupted State = "Interrupted" // somebody cancelled it, or who carried it out stopped
)

// Ended says whether the state never changes again.
func (s State) Ended() bool { return s != Running }

// Scheduled is the actor of runs that the schedule begins.
const Scheduled = "schedule"

// Run is one execution of a job.
type Run struct {
	ID        string          `json:"id"` // a ULID: of two runs the newer has the greater
	Kind      Kind            `json:"kind"`
	State     State           `json:"state"`
	Actor     string          `json:"actor"` // who asked for it
	Options   json.RawMessage `json:"options"`
	StartedAt time.Time       `json:"startedAt"`
	// FinishedAt is when it ended, or was found to be interrupted.
	FinishedAt *time.Time `json:"finishedAt,omitempty"`
	// Progress is how far it is, or was when it was last heard of; at most a second old.
	Progress json.RawMessage `json:"progress,omitempty"`
	// Result is what it came to; of one that did not succeed what it had done until then.
	Result json.RawMessage `json:"result,omitempty"`
	// Omitted counts the items that were left out of lists in Result, which has bounds.
	Omitted int `json:"omitted,omitempty"`
	// Figures are the numbers of Result that a line of a list has room for.
	Figures map[string]int64 `json:"figures,omitempty"`
	// Error says why it did not succeed.
	Error string `json:"error,omitempty"`
	// CancelledBy is who cancelled it; while it is Running it has been told to stop.
	CancelledBy string `json:"cancelledBy,omitempty"`
}

// Took is how long it went on; until now for one that has not ended.
func (r Run) Took(now time.Time) time.Duration {
	if r.FinishedAt != nil {
		now = *r.FinishedAt
	}
	return max(0, now.Sub(r.StartedAt))
}

// head is what stands in a list: a run without what may be large.
func (r Run) head() Run {
	r.Progress, r.Result = nil, nil
	return r
}

// BusyError refuses a run because one of its kind goes on. It is an oci.ErrConflict.
type BusyError struct{ Run Run }

// Error says which one goes on.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%v: %s %s of %s is running since %s: wait for its end, or cancel it",
		oci.ErrConflict, e.Run.Kind, e.Run.ID, e.Run.Actor, e.Run.StartedAt.Format(time.RFC3339))
}

// Unwrap makes errors.Is(err, oci.ErrConflict) true.
func (e *BusyError) Unwrap() error { return oci.ErrConflict }

// Figured is a result with numbers that are worth a line in a list and a metric.
type Figured interface {
	// Figures are few, and their names constants.
	Figures() map[string]int64
}
