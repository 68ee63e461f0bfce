package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// load is how much of one kind of work a contender does in one round.
type load struct {
	name    string
	clients int     // at once
	ops     int     // how many; 0: as many as seconds allow
	seconds float64 // for how long
	size    int64   // bytes that one moves; 0: a rate is measured, no volume
}

// contender does the same work as the others, in turn with them.
type contender struct {
	name   string
	server usage // whose CPU and memory count
	op     func(ctx context.Context, i int) error
}

// compare lets each contender do the work, one after the other. Who begins changes from
// round to round, so that no one always finds the caches as another left them.
func (b *bench) compare(ctx context.Context, l load, contenders ...contender) error {
	for i := range contenders {
		c := contenders[(i+b.current)%len(contenders)]
		s, err := measure(ctx, l, c)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", l.name, c.name, err)
		}
		b.add(l.name, c.name, s)
	}
	return nil
}

// add keeps a sample and shows it.
func (b *bench) add(work, who string, s sample) {
	fmt.Fprintf(b.progress, "%s, %s, %s: %d ops, %.2f s, %.1f op/s, %.1f MiB/s, p99 %.2f ms, cpu %.2f s, peak %.0f MiB\n",
		b.roundName(), work, who, s.Ops, s.Seconds, rate(s), volume(s), s.P99, s.CPU, s.Peak)
	b.keep(work, who, s)
}

// count keeps a sample that is only a number.
func (b *bench) count(work, who string, n int) {
	fmt.Fprintf(b.progress, "%s, %s, %s: %d\n", b.roundName(), work, who, n)
	b.keep(work, who, sample{Count: float64(n)})
}

// keep leaves out the round in which everything warms up.
func (b *bench) keep(work, who string, s sample) {
	if b.current > 0 {
		b.results.add(work, who, s)
	}
}

// measure ends at the first error: a figure with failures in it says nothing.
func measure(ctx context.Context, l load, c contender) (sample, error) {
	if err := c.server.resetPeak(); err != nil {
		return sample{}, err
	}
	before, err := c.server.cpuSeconds()
	if err != nil {
		return sample{}, err
	}
	io, err := c.server.ioMiB()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	latencies, err := work(ctx, l, c.op)
	if err != nil {
		return sample{}, err
	}
	s := sample{Ops: len(latencies), Seconds: time.Since(start).Seconds(), Bytes: l.size * int64(len(latencies)),
		P50: percentile(latencies, 0.5), P99: percentile(latencies, 0.99)}
	after, err := c.server.cpuSeconds()
	if err != nil {
		return sample{}, err
	}
	ioAfter, err := c.server.ioMiB()
	if err != nil {
		return sample{}, err
	}
	s.CPU, s.IO = after-before, ioAfter-io
	s.Peak, err = c.server.peakMiB()
	return s, err
}

// work does the operations and returns what each took, in milliseconds.
func work(ctx context.Context, l load, op func(context.Context, int) error) ([]float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		next      atomic.Int64
		mu        sync.Mutex
		latencies []float64
		group     sync.WaitGroup
	)
	end := time.Now().Add(time.Duration(l.seconds * float64(time.Second)))
	more := func(i int) bool {
		if ctx.Err() != nil {
			return false
		}
		if l.ops > 0 {
			return i < l.ops
		}
		return time.Now().Before(end)
	}
	for range l.clients {
		group.Go(func() {
			var own []float64
			for i := int(next.Add(1)) - 1; more(i); i = int(next.Add(1)) - 1 {
				start := time.Now()
				if err := op(ctx, i); err != nil {
					cancel(err)
					return
				}
				own = append(own, float64(time.Since(start))/float64(time.Millisecond))
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, own...)
		})
	}
	group.Wait()
	return latencies, context.Cause(ctx)
}

// pick chooses one of many for an operation, spread over all of them.
func pick(n int) int { return rand.IntN(n) }
