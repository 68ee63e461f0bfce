package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	settle    = 10 * time.Second // from the end of the load until the server counts as idle
	finishing = 4                // uploads that end at once: the store needs room twice for these
)

// stream is content that is made while it is read, and hashed on the way.
type stream struct {
	block []byte // repeated, with the number of the repetition in front
	left  int64
	at    int // in block
	count uint64
}

// newStream makes size bytes that no other stream has.
func newStream(size int64) *stream { return &stream{block: newNoise(1 << 20), left: size} }

// Read gives the next bytes.
func (s *stream) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.at == 0 {
		binary.BigEndian.PutUint64(s.block, s.count)
		s.count++
	}
	n := copy(p[:min(int64(len(p)), s.left)], s.block[s.at:])
	s.at = (s.at + n) % len(s.block)
	s.left -= int64(n)
	return n, nil
}

// memoryRound uploads many large blobs at once, each in one streamed PATCH. All of them
// have to get through. There is no warm-up: it would fill the disk once more.
func (b *bench) memoryRound(ctx context.Context) error {
	if b.current == 0 {
		return nil
	}
	size := int64(b.uploadMiB) << 20
	if err := b.roomFor(size * int64(b.uploads+finishing)); err != nil {
		return err
	}
	repo := b.sluice.at("dev/bench/memory")
	ending := make(chan struct{}, finishing)
	err := b.compare(ctx, load{name: "memory", clients: b.uploads, ops: b.uploads, size: size},
		contender{theSluice, b.sluice.usage, func(ctx context.Context, _ int) error {
			at, err := repo.begin(ctx)
			if err != nil {
				return err
			}
			hash := sha256.New()
			if at, err = repo.step(ctx, http.MethodPatch, at, io.TeeReader(newStream(size), hash), -1, typed(octets)); err != nil {
				return err
			}
			ending <- struct{}{}
			defer func() { <-ending }()
			return repo.finish(ctx, at, digest.NewDigest(digest.SHA256, hash), nil, 0)
		}})
	if err != nil {
		return err
	}
	b.sluice.client.CloseIdleConnections()
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	idle, err := b.sluice.residentMiB()
	if err != nil {
		return err
	}
	b.add("idle", theSluice, sample{Ops: 1, Seconds: settle.Seconds(), Peak: idle})
	return nil
}

// roomFor says before the disk is full that it will be.
func (b *bench) roomFor(bytes int64) error {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(b.dir, &disk); err != nil {
		return fmt.Errorf("free space of %s: %w", b.dir, err)
	}
	if free := int64(disk.Bavail) * int64(disk.Bsize); free < bytes {
		return fmt.Errorf("the uploads take %d GiB and %s has %d free: make -uploads or -upload-mib smaller, or set TMPDIR", bytes>>30, b.dir, free>>30)
	}
	return nil
}

func (b *bench) memoryRows() {
	work := fmt.Sprintf("%d uploads of %d MiB at once, streamed", b.uploads, b.uploadMiB)
	b.medianRow(work, "peak resident", "memory", theSluice, peak, "MiB", atMost(400))
	b.medianRow(work, "together", "memory", theSluice, volume, "MiB/s", owed{})
	b.medianRow(work, fmt.Sprintf("resident %v later", settle), "idle", theSluice, peak, "MiB", atMost(64))
}
