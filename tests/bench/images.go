package main

import (
	"context"
	"fmt"
)

const (
	smallBlob   = 10 << 10
	smallLayers = 3
	// smallPuts are what an image of small layers is at the store: its layers, its
	// configuration and its manifest.
	smallPuts = smallLayers + 2
)

// imagesRound pushes small images, each with blobs of its own.
func (b *bench) imagesRound(ctx context.Context) error {
	prefix := fmt.Sprintf("r%d", b.current)
	to := func(r registry) func(context.Context, int) error {
		return func(ctx context.Context, i int) error {
			_, err := r.pushImage(ctx, fmt.Sprintf("%s-%05d", prefix, i), newBlobs(smallLayers, smallBlob))
			return err
		}
	}
	contenders := []contender{
		// An operation is all puts of an image, so that rates compare.
		{theStore, 0, func(ctx context.Context, _ int) error {
			for _, small := range newBlobs(smallPuts, smallBlob) {
				if err := b.store.putSmall(ctx, small); err != nil {
					return err
				}
			}
			return nil
		}},
		{theSluice, b.sluice.usage, to(b.sluice.at("dev/bench/images"))},
	}
	if b.peer.usage != 0 {
		contenders = append(contenders, contender{thePeer, b.peer.usage, to(b.peer.at("bench/images"))})
	}
	return b.compare(ctx, load{name: "images", clients: clients, ops: b.images}, contenders...)
}

func (b *bench) imagesRows() {
	const work = "small images, 4 blobs and a manifest"
	b.ratioRow(work, "ratio to distribution", "images", theSluice, thePeer, rate, "images/s", atLeast(8))
	b.ratioRow(work, "ratio to the raw bound (rate of 10 KiB puts ÷ 5)", "images", theSluice, theStore, rate, "images/s", atLeast(0.4))
	b.ratioRow(work, "server CPU to distribution's", "images", theSluice, thePeer, cpuEach, "ms each", owed{})
}
