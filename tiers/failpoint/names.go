package failpoint

import (
	"runtime"
	"strings"

	"sluice.dev/sluice/tiers"
)

// telling lists families of keys, the most telling first: a transaction is named by the
// first of them that it writes or deletes.
func telling() []string {
	return []string{"ledger-batch", "ledger-head", "ledger-sealer", "committed", "promotion", "promotion-open", "pinned", "staged", "run", "pulls", "condemned",
		"manifest", "tag", "pushing", "upload", "uploading", "blob", "intent", "link", "ref", "replica"}
}

// kind names a transaction by what it is about. A family that it only deletes has a minus.
func kind(change tiers.Change) string {
	puts, deletes := map[string]bool{}, map[string]bool{}
	for _, put := range change.Put {
		puts[family(put.Key)] = true
	}
	for _, key := range change.Delete {
		deletes[family(key)] = true
	}
	for _, name := range telling() {
		if puts[name] {
			return name
		}
		if deletes[name] {
			return "-" + name
		}
	}
	switch {
	case len(change.Put) > 0:
		return family(change.Put[0].Key)
	case len(change.Delete) > 0:
		return "-" + family(change.Delete[0])
	}
	return "compare"
}

// family is the kind of record that a key belongs to: blob of store/<store>/blob/<digest>,
// ledger-head of ledger/head.
func family(key string) string {
	parts := strings.SplitN(key, "/", 4)
	if len(parts) > 2 && (parts[0] == "store" || parts[0] == "tier") {
		return parts[2]
	}
	if len(parts) > 1 && parts[0] == "ledger" {
		return parts[0] + "-" + parts[1]
	}
	return parts[0]
}

// activities are functions by which the work is known that a call is part of; of all that
// match in a stack, the outermost counts.
func activities() [][2]string {
	return [][2]string{
		{"/tiers/ledger.New", "seal"},
		{"/tiers/ledger.(*sealer).", "seal"},
		{"/tiers.(*Registry).Collect", "collect"},
		{"/tiers.(*collector).", "collect"},
		{"/tiers.(*Registry).Retain", "retain"},
		{"/tiers.(*retention).", "retain"},
		{"/promote.(*Engine).Check", "check"},
		{"/tiers.(*Registry).Check", "check"},
		{"/tiers.(*Checking).", "check"},
		{"/tiers/runs.", "runs"},
		{"/tiers/pulls.", "pulls"},
		{"/promote.", "promote"},
		{"/tiers.(*Registry).transferAll", "promote"}, // its goroutines begin there
		{"/tiers.(*Repository).Delete", "delete"},
		{"/tiers.(*Repository).PutManifest", "push"},
		{"/tiers.(*Repository).PushBlob", "push"},
		{"/tiers.(*Repository).Mount", "push"},
		{"/tiers.(*Upload).", "push"},
		{"/tiers.(*appender).", "push"},
		{"/tiers.(*announcer).", "push"},
	}
}

// activity says what the caller is at, by its stack: collect, promote, push, …, and serve
// for all else.
func activity() string {
	var pcs [48]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	found := "serve"
	for {
		frame, more := frames.Next()
		for _, a := range activities() {
			if strings.Contains(frame.Function, a[0]) {
				found = a[1]
				break
			}
		}
		if !more {
			return found
		}
	}
}
