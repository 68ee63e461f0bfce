package s3proxy

import (
	"net/http"
	"time"
)

// Fault is a way to misbehave.
type Fault string

// The faults, with the requests that they can happen to.
const (
	Slow           Fault = "slow"            // any: up to SlowFor before it goes on
	SlowDown       Fault = "503"             // any: 503 SlowDown, not applied
	InternalError  Fault = "500"             // any: 500 InternalError, not applied
	ResetBefore    Fault = "reset-before"    // any: the connection is reset, not applied
	ResetAfter     Fault = "reset-after"     // writes: the connection is reset, applied
	LostReply      Fault = "reply-lost"      // writes: applied, and nothing comes for up to SlowFor; then the end
	FailedAfter    Fault = "500-applied"     // writes: applied, answered with 500
	OKError        Fault = "200-error"       // copies and completions: 200 with an error, not applied
	OKErrorApplied Fault = "200-error-after" // copies and completions: 200 with an error, applied
	ShortRead      Fault = "short-read"      // reads: cut off within the body
	Truncated      Fault = "truncated"       // reads: whole by its own length, which is too small
	WrongBytes     Fault = "wrong-bytes"     // reads: as many bytes as there are, some of them others
)

// Faults lists all of them.
func Faults() []Fault {
	return []Fault{Slow, SlowDown, InternalError, ResetBefore, ResetAfter, LostReply, FailedAfter,
		OKError, OKErrorApplied, ShortRead, Truncated, WrongBytes}
}

// Rules say how often what goes wrong. The zero value is a proxy that does its work.
type Rules struct {
	// Rates are the probabilities with which a request meets a fault. Each is of those
	// requests that the fault can happen to; a request meets one at the most, so what
	// together is more than 1 leaves the last of the list out.
	Rates map[Fault]float64
	// SlowFor is how long a slow request waits at the most. 0: a second.
	SlowFor time.Duration
	// Match selects the requests; nil: all.
	Match func(*http.Request) bool
}

// Even makes rules in which every fault has the same rate.
func Even(rate float64) Rules {
	r := Rules{Rates: map[Fault]float64{}}
	for _, f := range Faults() {
		r.Rates[f] = rate
	}
	return r
}

// Operation is what a request asks for.
type Operation string

// The operations of S3 that the proxy tells apart.
const (
	Put      Operation = "put"
	Copy     Operation = "copy"
	Part     Operation = "part"
	PartCopy Operation = "part-copy"
	Begin    Operation = "begin"
	Complete Operation = "complete"
	Abort    Operation = "abort"
	Delete   Operation = "delete"
	Get      Operation = "get"
	Other    Operation = "other" // heads, listings, buckets
)

// operation tells what a request asks for.
func operation(r *http.Request) Operation {
	q := r.URL.Query()
	copied := r.Header.Get("X-Amz-Copy-Source") != ""
	switch {
	case r.Method == http.MethodPut && q.Has("partNumber") && copied:
		return PartCopy
	case r.Method == http.MethodPut && q.Has("partNumber"):
		return Part
	case !hasKey(r.URL.Path):
		return Other
	case r.Method == http.MethodPut && copied:
		return Copy
	case r.Method == http.MethodPut:
		return Put
	case r.Method == http.MethodPost && q.Has("uploads"):
		return Begin
	case r.Method == http.MethodPost && q.Has("uploadId"):
		return Complete
	case r.Method == http.MethodDelete && q.Has("uploadId"):
		return Abort
	case r.Method == http.MethodDelete:
		return Delete
	case r.Method == http.MethodGet && !q.Has("uploadId"):
		return Get
	}
	return Other
}

// hasKey says whether a path names an object: /bucket/key.
func hasKey(path string) bool {
	for i := 1; i < len(path)-1; i++ {
		if path[i] == '/' {
			return true
		}
	}
	return false
}

// can says whether a fault can happen to an operation.
func (f Fault) can(op Operation) bool {
	switch f {
	case ResetAfter, LostReply, FailedAfter:
		return op != Get && op != Other
	case OKError, OKErrorApplied:
		return op == Copy || op == Complete || op == PartCopy
	case ShortRead, Truncated, WrongBytes:
		return op == Get
	}
	return true
}
