package tiers

import (
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"
)

// Bounds of the manifests that are kept in memory: together at most 32 MiB. Most are of a
// few hundred bytes; an index of a hundred platforms fits.
const (
	bodiesMost  = 1024     // entries
	bodyLargest = 32 << 10 // bytes
)

// bodies keeps the bytes of manifests that were read or pushed lately. A digest names its
// bytes for ever, so nothing in it can be out of date; whether a repository shows a
// manifest is asked of the catalog each time.
type bodies struct {
	entries *lru.Cache[digest.Digest, []byte]
}

func newBodies() (bodies, error) {
	entries, err := lru.New[digest.Digest, []byte](bodiesMost)
	return bodies{entries}, err
}

func (b bodies) clear() { b.entries.Purge() }

func (b bodies) get(d digest.Digest) ([]byte, bool) { return b.entries.Get(d) }

// put keeps body, which is what d says and is never changed from here on.
func (b bodies) put(d digest.Digest, body []byte) {
	if len(body) <= bodyLargest {
		b.entries.Add(d, body)
	}
}
