package tiers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/oci"
)

// replayReads is how many objects are asked for at once.
const replayReads = 16

// maxProblems bounds what is told one by one of what a rebuild could not read.
const maxProblems = 100

// completing adds to a model what manifests say and events do not.
type completing struct {
	registry *Registry
	model    *Model
	needs    map[digest.Digest]needs // of manifests
	mu       sync.Mutex
	problems []string
	gone     []string // keys of blobs that lapsed
}

// needs is what a manifest says of others. A manifest that could not be read has none.
type needs struct {
	blobs, children []sized
	referrer        *ReferrerRecord
	subject         digest.Digest
}

type sized struct {
	digest digest.Digest
	size   int64
}

// placed is a manifest in a repository.
type placed struct {
	tier, repo string
	digest     digest.Digest
	record     ManifestRecord
}

// Complete adds what the manifests say and the events do not: what they need, whom they are
// about, how deep an index is. What no manifest needs and no repository may read stays only
// where its object is still in the bucket, for of what lapsed there is no event. problems
// are what could not be read, the first hundred: such a manifest is there and needs nothing,
// which a check reports.
func (r *Registry) Complete(ctx context.Context, m *Model, progress func(done, of int)) (problems []string, err error) {
	c := &completing{registry: r, model: m, needs: map[digest.Digest]needs{}}
	manifests, err := c.manifests()
	if err != nil {
		return nil, err
	}
	if err := c.read(ctx, manifests, progress); err != nil {
		return nil, err
	}
	for _, p := range manifests {
		c.place(p)
	}
	if err := c.lapsed(ctx); err != nil {
		return nil, err
	}
	return c.problems, c.renew()
}

// cutTier reads tier/<tier>/<family>/<name> of a family.
func cutTier(key, family string) (tier, name string, ok bool) {
	rest, ok := strings.CutPrefix(key, "tier/")
	if !ok {
		return "", "", false
	}
	tier, rest, _ = strings.Cut(rest, "/")
	name, ok = strings.CutPrefix(rest, family)
	return tier, name, ok
}

// manifests lists those of the model. Their tiers must be configured: else nobody knows
// where their bytes lie.
func (c *completing) manifests() ([]placed, error) {
	var all []placed
	for key := range c.model.records {
		tier, name, ok := cutTier(key, "manifest/")
		if !ok {
			continue
		}
		if c.registry.find(tier) == nil {
			return nil, fmt.Errorf("%w: the ledger tells of manifests in the tier %q, which is not configured: configure it as it was", oci.ErrTierUnknown, tier)
		}
		repo, d, _ := strings.Cut(name, "@")
		v, err := Decode[ManifestRecord](c.model.Get(key))
		if err != nil {
			return nil, err
		}
		all = append(all, placed{tier, repo, digest.Digest(d), v})
	}
	return all, nil
}

// read reads every manifest once, wherever it stands.
func (c *completing) read(ctx context.Context, manifests []placed, progress func(done, of int)) error {
	byDigest := map[digest.Digest][]placed{}
	for _, p := range manifests {
		byDigest[p.digest] = append(byDigest[p.digest], p)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(replayReads)
	done := 0
	for d, places := range byDigest {
		group.Go(func() error {
			n, err := c.readOne(ctx, d, places)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.needs[d] = n
			if done++; progress != nil {
				progress(done, len(byDigest))
			}
			return err
		})
	}
	return group.Wait()
}

// readOne reads a manifest from the first store that has it as its digest says.
func (c *completing) readOne(ctx context.Context, d digest.Digest, places []placed) (needs, error) {
	failed := errNowhere
	for _, p := range places {
		body, err := c.body(ctx, p)
		if errors.Is(err, oci.ErrUnavailable) || ctx.Err() != nil {
			return needs{}, err
		}
		if err != nil {
			failed = err
			continue
		}
		n, err := needsOf(p, body)
		if err == nil {
			return n, nil
		}
		failed = err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.problems) < maxProblems {
		c.problems = append(c.problems, fmt.Sprintf("the manifest %s of %s/%s cannot be read: %v", d, places[0].tier, places[0].repo, failed))
	}
	return needs{}, nil
}

func (c *completing) body(ctx context.Context, p placed) ([]byte, error) {
	t := c.registry.find(p.tier)
	record := c.model.Get(blobKey(t.store, p.digest))
	if record.Revision == 0 {
		return nil, errNowhere
	}
	b, err := Decode[blobRecord](record)
	if err != nil {
		return nil, err
	}
	return readDigest(ctx, t.Bucket, b, p.digest)
}

// readDigest reads the bytes of a digest whole.
func readDigest(ctx context.Context, bucket Bucket, b blobRecord, d digest.Digest) ([]byte, error) {
	if b.Size > oci.MaxManifestSize {
		return nil, fmt.Errorf("%w: %s has %d bytes", oci.ErrCorrupt, d, b.Size)
	}
	var buf bytes.Buffer
	if err := readObject(ctx, bucket, b, &buf); err != nil {
		return nil, err
	}
	if d.Algorithm().FromBytes(buf.Bytes()) != d {
		return nil, fmt.Errorf("%w: the object %s is not %s", oci.ErrCorrupt, b.Key, d)
	}
	return buf.Bytes(), nil
}

func needsOf(p placed, body []byte) (needs, error) {
	manifest, err := oci.ParseManifest(p.record.MediaType, body)
	if err != nil {
		return needs{}, fmt.Errorf("manifest %s of %s/%s: %w", p.digest, p.tier, p.repo, err)
	}
	var n needs
	for _, b := range manifest.Blobs() {
		n.blobs = append(n.blobs, sized{b.Digest, b.Size})
	}
	for _, child := range manifest.Children {
		n.children = append(n.children, sized{child.Digest, child.Size})
	}
	if s := manifest.Subject; s != nil {
		referrer := newReferrer(p.record.descriptor(p.digest), manifest)
		n.referrer, n.subject = &referrer, s.Digest
	}
	return n, nil
}

// place writes the records that follow from a manifest.
func (c *completing) place(p placed) {
	m, store, n := c.model, c.registry.find(p.tier).store, c.needs[p.digest]
	for _, b := range n.blobs {
		m.Put(refKey(store, b.digest, p.tier, p.repo, p.digest), nil)
		m.Link(p.tier, p.repo, b.digest, b.size) // a deletion beside the push took nothing away
	}
	for _, child := range n.children {
		m.Put(refKey(store, child.digest, p.tier, p.repo, p.digest), nil)
	}
	m.Put(selfKey(store, p.digest, p.tier, p.repo), nil)
	if n.referrer != nil {
		m.Put(referrerPrefix(p.tier, p.repo, n.subject)+p.digest.String(), Encode(*n.referrer))
	}
	p.record.Depth = c.depth(p.digest, p.record.MediaType, 0)
	m.Put(manifestKey(p.tier, p.repo, p.digest), Encode(p.record))
}

// depth is how many levels of indexes there are below a manifest, and with it.
func (c *completing) depth(d digest.Digest, mediaType string, level int) int {
	if !oci.IsIndex(mediaType) && len(c.needs[d].children) == 0 || level > oci.MaxIndexDepth {
		return 0
	}
	depth := 1
	for _, child := range c.needs[d].children {
		depth = max(depth, c.depth(child.digest, "", level+1)+1)
	}
	return depth
}

// lapsed takes away the blobs that nothing needs and whose object is gone.
func (c *completing) lapsed(ctx context.Context) error {
	needed := map[string]bool{} // <store>/<digest>
	for key := range c.model.records {
		if rest, ok := strings.CutPrefix(key, "store/"); ok {
			if store, rest, _ := strings.Cut(rest, "/"); strings.HasPrefix(rest, "ref/") {
				d, _, _ := strings.Cut(strings.TrimPrefix(rest, "ref/"), "/")
				needed[store+"/"+d] = true
			}
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(replayReads)
	for _, place := range c.registry.places() {
		prefix := storePrefix(place.store, "blob")
		for key, value := range c.model.records {
			d, ok := strings.CutPrefix(key, prefix)
			if !ok || needed[place.store+"/"+d] {
				continue
			}
			b, err := Decode[blobRecord](Record{Key: key, Value: value})
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			group.Go(func() error {
				_, err := place.bucket.Stat(ctx, b.Key)
				if !errors.Is(err, oci.ErrObjectUnknown) {
					return err
				}
				c.mu.Lock()
				defer c.mu.Unlock()
				c.gone = append(c.gone, key) // they are being read: none goes yet
				return nil
			})
		}
	}
	err := group.Wait()
	for _, key := range c.gone {
		c.model.Delete(key)
	}
	return err
}

// renew has all that anybody may have been promised count as promised now.
func (c *completing) renew() error {
	for _, key := range c.model.Keys() {
		tier, _, ok := cutTier(key, "manifest/")
		if !ok || !c.registry.find(tier).Push {
			continue
		}
		v, err := Decode[ManifestRecord](c.model.Get(key))
		if err != nil {
			return err
		}
		v.RenewedAt = c.model.at
		c.model.Put(key, Encode(v))
	}
	return nil
}

// maxDocument is how many bytes the document of an event has at the most.
const maxDocument = 256 << 20

// Document reads what an event keeps as an object of its own.
func (r *Registry) Document(ctx context.Context, e Event) ([]byte, error) {
	places := r.places()
	i := slices.IndexFunc(places, func(p *place) bool { return p.store == e.Store })
	if i < 0 {
		return nil, fmt.Errorf("%w: the document %s of tier %s lies in the bucket %s, which no configured tier has: configure it as it was", oci.ErrTierUnknown, e.Document, e.Tier, e.Store)
	}
	rc, err := places[i].bucket.Open(ctx, e.Key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("document %s of event %s: %w", e.Document, e.ID, err)
	}
	defer rc.Close()
	data, err := io.ReadAll(io.LimitReader(rc, maxDocument))
	if err != nil {
		return nil, fmt.Errorf("document %s of event %s: %w", e.Document, e.ID, err)
	}
	if e.Document.Algorithm().FromBytes(data) != e.Document {
		return nil, fmt.Errorf("%w: the object %s is not the document %s of event %s: restore it from a backup of the bucket", oci.ErrCorrupt, e.Key, e.Document, e.ID)
	}
	return data, nil
}
