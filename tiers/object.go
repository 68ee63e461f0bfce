package tiers

import (
	"strings"

	"github.com/oklog/ulid/v2"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// prefixObjects is under what all contents lie in a bucket. Nothing outside is ever
// collected.
const prefixObjects = "blobs/"

// objectKey is where bytes of a known digest are put.
func objectKey(d digest.Digest, id string) string {
	return prefixObjects + d.Algorithm().String() + "/" + d.Encoded() + "/" + id
}

// objectID is the id that a key ends in, by which no two keys are alike; ok is false of keys
// that this registry never makes.
func objectID(key string) (id ulid.ULID, ok bool) {
	name, ok := strings.CutPrefix(key, prefixObjects)
	if !ok {
		return id, false
	}
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		if objectDigest(key) == "" {
			return id, false
		}
		name = name[i+1:]
	}
	id, err := ulid.ParseStrict(name)
	return id, err == nil
}

// isObject says whether the key is one of an object that this registry makes.
func isObject(key string) bool {
	_, ok := objectID(key)
	return ok
}

// objectDigest is the digest that a key tells of; empty of one that was made before anybody
// knew.
func objectDigest(key string) digest.Digest {
	parts := strings.Split(strings.TrimPrefix(key, prefixObjects), "/")
	if len(parts) != 3 {
		return ""
	}
	d, err := oci.ParseDigest(parts[0] + ":" + parts[1])
	if err != nil {
		return ""
	}
	return d
}
