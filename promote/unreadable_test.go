package promote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// spoiled is a real bucket that gives one of its objects back wrong.
type spoiled struct {
	tiers.Bucket
	mu    sync.Mutex
	key   string // of the object; empty: none
	spoil func([]byte) ([]byte, error)
}

func (s *spoiled) set(key string, spoil func([]byte) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.spoil = key, spoil
}

func (s *spoiled) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	s.mu.Lock()
	wrong, spoil := s.key == key, s.spoil
	s.mu.Unlock()
	rc, err := s.Bucket.Open(ctx, key, offset, length)
	if err != nil || !wrong {
		return rc, err
	}
	defer rc.Close()
	body, err := io.ReadAll(rc)
	if err != nil {
		return nil, err
	}
	if body, err = spoil(body); err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(body)), nil
}

// Bad news that the store gives back wrong is not passed over in favour of older, better
// news: nothing is decided until it can be read.
func TestUnreadableEvidence(t *testing.T) {
	store := &spoiled{}
	a := newApprovers(t, 1, func(c *tiers.Config) {
		store.Bucket = c.Tiers[0].Bucket
		c.Tiers[0].Bucket = store
	})
	a.require("dev-to-stable", "dev", "stable", fmt.Sprintf("\n    - {name: tested, predicateTypes: [%q], from: {authorities: [ci]}, where: [\"predicate.result == 'PASSED'\"]}\n", testType))
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 3*time.Hour)
	carrier := a.result(image, "FAILED", time.Hour)
	desc, body, err := a.repo("dev").Manifest(t.Context(), carrier.Digest.String())
	a.must(err)
	manifest, err := oci.ParseManifest(desc.MediaType, body)
	a.must(err)
	for what, key := range map[string]string{"attestation": a.object(manifest.Layers[0].Digest.String()), "manifest": a.object(carrier.Digest.String())} {
		for name, spoil := range map[string]func([]byte) ([]byte, error){
			"other bytes": func(b []byte) ([]byte, error) { b[len(b)/2] ^= 1; return b, nil },
			"fewer bytes": func(b []byte) ([]byte, error) { return b[:len(b)-1], nil },
			"nothing":     func([]byte) ([]byte, error) { return nil, nil },
			"no object":   func([]byte) ([]byte, error) { return nil, oci.ErrObjectUnknown },
			"unavailable": func([]byte) ([]byte, error) { return nil, oci.ErrUnavailable },
		} {
			a.registry.Forget() // what was attached is in memory
			store.set(key, spoil)
			if p, _, err := a.engine.Promote(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("%s, %s: %s, %v; want %v", what, name, p.State, err, oci.ErrUnavailable)
			}
			if verdict, err := a.engine.Evaluate(t.Context(), "manager", request("1.0", "stable")); !errors.Is(err, oci.ErrUnavailable) {
				t.Errorf("%s, %s: allowed %t, %v; want %v", what, name, verdict.Allowed, err, oci.ErrUnavailable)
			}
		}
	}
	store.set("", nil)
	a.promoteAgain(request("1.0", "stable"), promote.Failed)
}

// object is where the bytes of a digest lie in the bucket of dev.
func (a *approvers) object(d string) string {
	a.Helper()
	tier, err := a.registry.Tier("dev")
	a.must(err)
	records, err := a.registry.Catalog().Get(a.Context(), "store/"+tier.Store()+"/blob/"+d)
	a.must(err)
	blob, err := tiers.Decode[struct {
		Key string `json:"key"`
	}](records[0])
	a.must(err)
	return blob.Key
}
