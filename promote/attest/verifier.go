package attest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/opencontainers/go-digest"
)

// DefaultCacheBytes is how much memory a Verifier may keep where nothing else is said.
const DefaultCacheBytes = 32 << 20

// Verifier is Verify with a memory. It keeps what does not change: what an attachment
// holds, and what it proves to some kinds of trust, by the digest of everything that this
// was made of. What may change is never kept: the time, the names and principals of
// authorities, and so whether anything counts. All methods may be called concurrently.
//
// Statements of evidence are shared between those who ask; nobody may change them.
type Verifier struct {
	mu    sync.Mutex
	kept  *simplelru.LRU[cacheKey, cached]
	bytes int64
	limit int64
}

// cacheKey is the digest of an attachment and that of the trust it was examined with.
type cacheKey struct{ attachment, trust string }

type cached struct {
	examination
	size int64
}

// NewVerifier makes a Verifier that keeps at most limit bytes, DefaultCacheBytes where it
// is zero or less.
func NewVerifier(limit int64) *Verifier {
	if limit <= 0 {
		limit = DefaultCacheBytes
	}
	v := &Verifier{limit: limit}
	// The number is no bound: bytes are. NewLRU fails only where it is not positive.
	v.kept, _ = simplelru.NewLRU(math.MaxInt, func(_ cacheKey, c cached) { v.bytes -= c.size })
	return v
}

// Verify is as the function Verify.
func (v *Verifier) Verify(att Attachment, subject digest.Digest, authorities []Authority, now time.Time) Evidence {
	return v.VerifyExcept(att, subject, authorities, now, nil)
}

// VerifyExcept is as the function VerifyExcept.
func (v *Verifier) VerifyExcept(att Attachment, subject digest.Digest, authorities []Authority, now time.Time, except Except) Evidence {
	att = labelled(att) // what matters of it hangs on its format
	key, ok := keyOf(att, authorities)
	if !ok {
		return VerifyExcept(att, subject, authorities, now, except)
	}
	ex, ok := v.get(key)
	if !ok {
		ex = examine(att, authorities)
		v.add(key, ex)
	}
	return decide(att, ex, subject, authorities, now, except)
}

func (v *Verifier) get(key cacheKey) (examination, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, ok := v.kept.Get(key)
	return c.examination, ok
}

// add keeps an examination. One that would push out many others is not worth it: what is
// large takes its time in parsing, whoever signed it.
func (v *Verifier) add(key cacheKey, ex examination) {
	size := ex.size()
	if ex.broken || size > v.limit/16 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.kept.Contains(key) {
		return // somebody was faster
	}
	v.kept.Add(key, cached{ex, size})
	v.bytes += size
	for v.bytes > v.limit {
		v.kept.RemoveOldest()
	}
}

// keyOf is the digest of all that an examination depends on. The content is hashed, not
// taken from its descriptor: what is kept must not hang on who called. It is false where
// nothing should be kept.
func keyOf(att Attachment, authorities []Authority) (key cacheKey, ok bool) {
	// A key that cannot be named must not take the server down either; Verify reports it.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	if att.Problem != "" || isNotary(att.Format) {
		return cacheKey{}, false
	}
	sum := sha256.Sum256(att.Content)
	parts := []string{string(att.Format), hex.EncodeToString(sum[:])}
	for _, name := range annotated(att.Format) {
		parts = append(parts, att.Layer.Annotations[name])
	}
	trusts := make([]string, len(authorities))
	for i, a := range authorities {
		id, err := trustOf(a).identify()
		if err != nil {
			return cacheKey{}, false
		}
		trusts[i] = identity(id, strconv.FormatBool(a.Functionary))
	}
	return cacheKey{identity(parts...), identity(trusts...)}, true
}

// size is about how many bytes of memory an examination takes, rather too many than too few.
func (ex examination) size() int64 {
	size := int64(1024+len(ex.problem)+len(ex.unstated)) + sizeOf(ex.statement)
	for _, p := range ex.proofs {
		size += int64(256 + len(p.refusal) + len(p.issuer) + len(p.subject) + len(p.unproven) + 24*len(p.times))
		for _, w := range p.windows {
			size += int64(128 + len(w.keyID) + len(w.what))
		}
	}
	return size
}

// sizeOf is about how many bytes a decoded value takes.
func sizeOf(value any) int64 {
	const header = 16 // of an interface
	switch v := value.(type) {
	case map[string]any:
		size := int64(header + 320) // the smallest map that holds something
		for key, item := range v {
			size += int64(2*(16+header)+len(key)) + sizeOf(item)
		}
		return size
	case []any:
		size := int64(header + 24)
		for _, item := range v {
			size += header + sizeOf(item)
		}
		return size
	case string:
		return int64(header + 16 + len(v))
	}
	return header + 8
}

// String says how full the cache is.
func (v *Verifier) String() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return fmt.Sprintf("%d examinations in %d of %d bytes", v.kept.Len(), v.bytes, v.limit)
}
