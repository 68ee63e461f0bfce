package main

import (
	"bytes"
	"crypto/rand"

	"github.com/opencontainers/go-digest"
)

// blob is content that a client pushes.
type blob struct {
	data   []byte
	digest digest.Digest
}

func newBlob(data []byte) blob { return blob{data, digest.FromBytes(data)} }

// newBlobs makes n blobs of size bytes, each new: only the beginning is random, so that
// making them costs little, and no two are alike.
func newBlobs(n int, size int64) []blob {
	noise := newNoise(size)
	blobs := make([]blob, n)
	for i := range blobs {
		data := bytes.Clone(noise)
		random(data[:min(64, len(data))])
		blobs[i] = newBlob(data)
	}
	return blobs
}

// newNoise repeats a random MiB.
func newNoise(size int64) []byte {
	noise := make([]byte, size)
	first := min(int64(1<<20), size)
	random(noise[:first])
	for off := first; off < size; off *= 2 {
		copy(noise[off:], noise[:off])
	}
	return noise
}

// random fills b. crypto/rand cannot fail: it ends the program instead.
func random(b []byte) { _, _ = rand.Read(b) }
