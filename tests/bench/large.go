package main

import (
	"context"
	"fmt"
)

// largeBlobs is how many large blobs are pushed and pulled at once.
const largeBlobs = clients

// large pushes large blobs in the ways of clients and pulls them again.
type large struct{ *bench }

func (l *large) load(name string) load {
	return load{name: name, clients: clients, ops: largeBlobs, size: int64(l.largeMiB) << 20}
}

// ways are how clients upload a blob.
func (l *large) ways() []string { return []string{byPut, byPatch, byChunks} }

// owed is the share of the raw store that a way of uploading has to reach.
func (l *large) owed(how string) float64 {
	return map[string]float64{byPut: 0.8, byPatch: 0.75, byChunks: 0.7}[how]
}

func pushBy(how string) string { return "push by " + how }

// round has new blobs for each way: an upload of what is there already is another work.
func (l *large) round(ctx context.Context) error {
	for _, how := range l.ways() {
		if how != byPut && !l.wants("push") {
			continue
		}
		blobs := newBlobs(largeBlobs, int64(l.largeMiB)<<20)
		if err := l.push(ctx, how, blobs); err != nil {
			return err
		}
		if how == byPut && l.wants("pull") {
			if err := l.pull(ctx, blobs); err != nil {
				return err
			}
		}
		if err := l.store.sweep(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *large) push(ctx context.Context, how string, blobs []blob) error {
	to := func(r registry) func(context.Context, int) error {
		return func(ctx context.Context, i int) error { return r.push(ctx, blobs[i], how) }
	}
	contenders := []contender{
		{theStore, 0, func(ctx context.Context, i int) error { return l.store.put(ctx, blobs[i]) }},
		{theSluice, l.sluice.usage, to(l.sluice.registry)},
	}
	if how == byPut {
		contenders = append(contenders, contender{theOne, 0, func(ctx context.Context, i int) error { return l.store.putOnce(ctx, blobs[i]) }})
	}
	if l.peer.usage != 0 {
		contenders = append(contenders, contender{thePeer, l.peer.usage, to(l.peer.registry)})
	}
	return l.compare(ctx, l.load(pushBy(how)), contenders...)
}

func (l *large) pull(ctx context.Context, blobs []blob) error {
	from := func(r registry) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			return r.pull(ctx, blobs[i].digest, int64(len(blobs[i].data)))
		}
	}
	contenders := []contender{
		{theStore, 0, func(ctx context.Context, i int) error { return l.store.get(ctx, blobs[i]) }},
		{theSluice, l.sluice.usage, from(l.sluice.registry)},
	}
	if l.peer.usage != 0 {
		contenders = append(contenders, contender{thePeer, l.peer.usage, from(l.peer.registry)})
	}
	if l.redirect.usage != 0 {
		contenders = append(contenders, contender{theDirect, l.redirect.usage, from(l.redirect.registry)})
	}
	return l.compare(ctx, l.load("pull"), contenders...)
}

func (l *large) rows() {
	if l.wants("push") {
		for _, how := range l.ways() {
			work, name := fmt.Sprintf("push %d × %d MiB, %s", largeBlobs, l.largeMiB, how), pushBy(how)
			l.ratioRow(work, "ratio to raw S3 PUT, parts of 16 MiB", name, theSluice, theStore, volume, "MiB/s", atLeast(l.owed(how)))
			if how == byPut {
				l.ratioRow(work, "ratio to raw S3 PUT in one request", name, theSluice, theOne, volume, "MiB/s", owed{})
			}
			l.ratioRow(work, "ratio to distribution", name, theSluice, thePeer, volume, "MiB/s", atLeast(3))
			l.ratioRow(work, "server CPU to distribution's", name, theSluice, thePeer, cpu, "s", atMost(0.45))
			l.medianRow(work, "peak resident", name, theSluice, peak, "MiB", owed{})
		}
	}
	if l.wants("pull") {
		work := fmt.Sprintf("pull %d × %d MiB", largeBlobs, l.largeMiB)
		l.ratioRow(work, "ratio to distribution", "pull", theSluice, thePeer, volume, "MiB/s", atLeast(1))
		l.ratioRow(work, "ratio to raw S3 GET", "pull", theSluice, theStore, volume, "MiB/s", atLeast(0.55))
		l.ratioRow(work, "server CPU to distribution's", "pull", theSluice, thePeer, cpu, "s", atMost(0.6))
		l.ratioRow(work, "redirected, ratio to raw S3 GET", "pull", theDirect, theStore, volume, "MiB/s", atLeast(0.95))
	}
}
