package pulls

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/opencontainers/go-digest"
)

// Bloom filter over digests. Ten bits and seven hashes for each let one of a hundred through
// that is not there; more than maxFilter hold lets through more, never less.
const (
	filterBits   = 10
	filterHashes = 7
	maxFilter    = 32 << 10 // bytes: of 26,000 digests
)

// filter says of a digest that it is surely not in a segment. The empty one lets all through.
type filter []byte

// newFilter makes the filter of sorted rows.
func newFilter(all []*Pull) filter {
	distinct := 0
	for i, p := range all {
		if i == 0 || p.Digest != all[i-1].Digest {
			distinct++
		}
	}
	f := make(filter, min((distinct*filterBits+7)/8, maxFilter))
	for _, p := range all {
		f.each(p.Digest, func(at uint64) bool {
			f[at/8] |= 1 << (at % 8)
			return true
		})
	}
	return f
}

// has says whether the digest may be there.
func (f filter) has(d digest.Digest) bool {
	return f.each(d, func(at uint64) bool { return f[at/8]&(1<<(at%8)) != 0 })
}

// each gives the bits of a digest until one is not to the liking of ok. Digests are hashes
// already: two halves of one make as many as it takes (Kirsch and Mitzenmacher).
func (f filter) each(d digest.Digest, ok func(bit uint64) bool) bool {
	raw, err := hex.DecodeString(d.Encoded())
	if len(f) == 0 || err != nil || len(raw) < 16 {
		return true
	}
	first, second := binary.BigEndian.Uint64(raw), binary.BigEndian.Uint64(raw[8:])|1
	for i := range uint64(filterHashes) {
		if !ok((first + i*second) % uint64(8*len(f))) {
			return false
		}
	}
	return true
}
