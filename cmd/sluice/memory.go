package main

import (
	"context"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How the process uses memory where the environment (GOGC, GOMEMLIMIT) does not say.
const (
	// gcPercent lets a small heap grow to three times what is in use before it is
	// collected: of a few MiB that are in use, collecting more often costs a twentieth of
	// the processor.
	gcPercent = 200
	// memoryLimit is where collecting gets eager, in bytes: what buffers of uploads take
	// and as much again. Embedded stores live in the same process and need what they need.
	memoryLimit = 320 << 20

	idleCheck = 5 * time.Second
	idleBytes = 2 << 20 // allocated between two looks by a server that does nothing much
	idleWorth = 8 << 20 // free, and not yet given back
)

// tuneMemory sets what the environment leaves open.
func tuneMemory(embedded bool) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" && !embedded {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// giveBack returns memory to the system when the server has nothing to do: by itself the
// runtime keeps what a busy hour took for much longer. rest drops what a server at rest
// can do without. It ends with ctx.
func giveBack(ctx context.Context, rest func()) {
	ticker := time.NewTicker(idleCheck)
	defer ticker.Stop()
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/free:bytes"}}
	var allocated uint64
	given := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(samples)
		idle := samples[0].Value.Uint64()-allocated < idleBytes
		allocated = samples[0].Value.Uint64()
		if !idle {
			given = false
			continue
		}
		if !given || samples[1].Value.Uint64() > idleWorth {
			if !given {
				rest()
			}
			given = true
			runtime.GC() // pools keep their contents over one collection
			debug.FreeOSMemory()
		}
	}
}
