package tiers_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// model is what a registry owes to its clients, beside the registry itself.
type model struct {
	*world
	rand *rand.Rand
	// needed are the manifests that stand in the repositories, and what each needs.
	needed map[standing][]ocispec.Descriptor
	// promised is until when a repository has a blob, by what it was told.
	promised map[standing]time.Time
	pinned   map[string][]digest.Digest
	now      time.Duration
}

type standing struct {
	repo   string
	digest digest.Digest
}

// modelBlob is one of the few blobs that all share.
func (m *model) modelBlob() (ocispec.Descriptor, []byte) {
	data := bytesOf(200+m.rand.Uint64N(6), 20)
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}, data
}

func (m *model) modelRepo() *tiers.Repository {
	return m.repo("dev", []string{"a/x", "a/y", "b"}[m.rand.IntN(3)])
}

// standings lists them in one order, so that a seed always does the same.
func (m *model) standings() []standing {
	return slices.SortedFunc(maps.Keys(m.needed), func(a, b standing) int {
		return cmp.Or(cmp.Compare(a.repo, b.repo), cmp.Compare(a.digest, b.digest))
	})
}

// told notes that a client was told that a repository has a blob.
func (m *model) told(r *tiers.Repository, d digest.Digest) {
	m.promised[standing{r.Name, d}] = time.Unix(0, 0).Add(m.now + 24*time.Hour)
}

// step does one random thing. Errors by which a client is told that something is not there
// are answers like any other.
func (m *model) step() error {
	r, ctx := m.modelRepo(), m.t.Context()
	blob, data := m.modelBlob()
	switch m.rand.IntN(12) {
	case 0, 1:
		if err := r.Push(ctx, blob, stream(data)); err != nil {
			return err
		}
		m.told(r, blob.Digest)
	case 2:
		ok, err := r.Exists(ctx, blob)
		if ok {
			m.told(r, blob.Digest)
		}
		return err
	case 3:
		from := m.modelRepo()
		ok, err := r.Mount(ctx, from, blob.Digest)
		if ok {
			m.told(r, blob.Digest)
		}
		return err
	case 4, 5:
		other, _ := m.modelBlob()
		return m.push(r, image(blob, nil, fmt.Sprint("application/x.", m.rand.IntN(3)), other), blob, other)
	case 6:
		return m.pushIndex(r)
	case 7:
		return m.delete(r)
	case 8:
		delete(m.promised, standing{r.Name, blob.Digest}) // whatever becomes of it
		return r.DeleteBlob(ctx, blob.Digest)
	case 9:
		return m.pin(blob.Digest)
	case 10:
		u, err := r.StartUpload(ctx)
		if err != nil {
			return err
		}
		return u.Append(ctx, stream(data), 0, -1) // and never again
	default:
		return m.passAndCollect()
	}
	return nil
}

func (m *model) push(r *tiers.Repository, body []byte, needs ...ocispec.Descriptor) error {
	pushed, err := r.PutManifest(m.t.Context(), digest.FromBytes(body).String(), "", "", body)
	if err == nil {
		m.needed[standing{r.Name, pushed.Digest}] = append(needs, plain(pushed.Descriptor))
	}
	return err
}

// pushIndex pushes an index of what stands in the repository.
func (m *model) pushIndex(r *tiers.Repository) error {
	for _, at := range m.standings() {
		if self := m.needed[at][len(m.needed[at])-1]; at.repo == r.Name && self.MediaType == ocispec.MediaTypeImageManifest {
			return m.push(r, index(self), self)
		}
	}
	return nil
}

func (m *model) delete(r *tiers.Repository) error {
	for _, at := range m.standings() {
		if at.repo == r.Name {
			err := r.DeleteManifest(m.t.Context(), at.digest)
			if err == nil {
				delete(m.needed, at)
			}
			return err
		}
	}
	return nil
}

// pin pins a blob as a promotion does, or lets go of what is pinned.
func (m *model) pin(d digest.Digest) error {
	for id := range m.pinned {
		delete(m.pinned, id)
		return m.Unpin(m.t.Context(), id)
	}
	id := m.NewID()
	err := m.Pin(m.t.Context(), m.dev.Tier, []digest.Digest{d}, id, true)
	if errors.Is(err, oci.ErrConflict) {
		return nil // the bytes are not there
	}
	m.pinned[id] = []digest.Digest{d}
	return err
}

func (m *model) passAndCollect() error {
	d := []time.Duration{time.Minute, drained, 5 * time.Hour, 23 * time.Hour, lapsed}[m.rand.IntN(5)]
	m.pass(d)
	m.now += d
	m.collect()
	return m.check()
}

// check says what the registry owes and does not have.
func (m *model) check() error {
	for at, needs := range m.needed {
		for _, need := range needs {
			if err := readable(func(w *world) *tiers.Repository { return w.repo("dev", at.repo) }, need)(m.world); err != nil {
				return fmt.Errorf("a manifest of %s needs %s: %w", at.repo, need.Digest, err)
			}
		}
	}
	for at, until := range m.promised {
		if time.Unix(0, 0).Add(m.now).After(until) {
			delete(m.promised, at)
			continue
		}
		if _, err := m.repo("dev", at.repo).Blob(m.t.Context(), at.digest); err != nil {
			return fmt.Errorf("the blob was promised to %s: %w", at.repo, err)
		}
	}
	for id, digests := range m.pinned {
		if _, err := m.Bring(m.t.Context(), m.dev.Tier, m.stable.Tier, digests[0], "test", id); err != nil {
			return fmt.Errorf("pinned %s: %w", digests[0], err)
		}
	}
	return nil
}

// empty deletes everything: then nothing is left.
func (m *model) empty() {
	for len(m.needed) > 0 {
		for _, at := range m.standings() {
			err := m.repo("dev", at.repo).DeleteManifest(m.t.Context(), at.digest)
			if err == nil {
				delete(m.needed, at)
			} else if !errors.Is(err, oci.ErrUnsupported) { // a child: its index goes first
				m.t.Fatal(err)
			}
		}
	}
	for id := range m.pinned {
		if err := m.Unpin(m.t.Context(), id); err != nil {
			m.t.Fatal(err)
		}
	}
	m.release()
	m.rest()
	m.wantOnlyBlobs()
	for _, tier := range []string{"dev", "stable"} {
		if left := m.objects(tier); len(left) > 0 {
			m.t.Errorf("everything was deleted, and in the bucket of %s lie %q", tier, left)
		}
	}
	for _, r := range m.catalog.all(m.t, "store/") {
		m.t.Errorf("%s is left over", r.Key)
	}
	if slices.ContainsFunc(m.catalog.all(m.t, "tier/dev/"), func(r tiers.Record) bool { return fields(m.t, r)["size"] != nil }) {
		m.t.Error("records of contents are left over")
	}
}

// Whatever clients do, in whatever order: what a manifest needs, what was promised and what
// is pinned stays, and when all is deleted, nothing is left.
func TestCollectModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &model{world: newWorld(t, nil), rand: rand.New(rand.NewPCG(seed, 1)), needed: map[standing][]ocispec.Descriptor{},
				promised: map[standing]time.Time{}, pinned: map[string][]digest.Digest{}}
			for n := range 80 {
				if err := expected(m.step()); err != nil {
					t.Fatalf("step %d: %v", n, err)
				}
				m.audit(false)
			}
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
			m.empty()
		})
	}
}
