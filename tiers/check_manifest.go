package tiers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
)

// manifestCheck is one manifest that is being looked at.
type manifestCheck struct {
	c      *Checking
	store  *checkStore
	tier   *Tier
	repo   string
	digest digest.Digest
	record Record         // as it was first read
	value  ManifestRecord // in that
	size   int64          // of the manifest itself
	parsed *oci.Manifest
	// shallow says that a child is missing, so that nobody knows how deep it is.
	shallow bool
	typed   bool // the manifest says itself of what type it is
}

// checkManifests reads every manifest of a tier and compares it with the records that show
// it and that keep what it needs.
func (c *Checking) checkManifests(ctx context.Context, t *Tier) error {
	prefix := manifestsPrefix(t.Name)
	return c.Records(ctx, "manifests", prefix, func(page []Record) error {
		return c.each(ctx, page, func(ctx context.Context, record Record) error {
			repo, d, rest, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
			about := Finding{Invariant: "I1", Tier: t.Name, Repository: repo, Digest: d}
			if !ok || rest != "" {
				return c.badKey(ctx, record, about)
			}
			value, ok, err := CheckRecord(ctx, c, record, about, saneManifest)
			if err != nil || !ok {
				return err
			}
			m := &manifestCheck{c: c, store: c.of(t), tier: t, repo: repo, digest: d, record: record, value: value}
			return m.check(ctx)
		})
	})
}

func (m *manifestCheck) key() string { return manifestKey(m.tier.Name, m.repo, m.digest) }

func (m *manifestCheck) name() string {
	return m.tier.Name + "/" + m.repo + "@" + m.digest.String()
}

// finding is one about the manifest.
func (m *manifestCheck) finding(invariant, kind string, severity Severity, key string) Finding {
	return Finding{Invariant: invariant, Kind: kind, Severity: severity, Store: m.store.id, Tier: m.tier.Name, Repository: m.repo,
		Key: key, Digest: m.digest, Affected: []string{m.name()}}
}

func (m *manifestCheck) check(ctx context.Context) error {
	if len(m.value.Pending) > 0 {
		_, v, ok, err := seen[ManifestRecord](ctx, m.c.registry, m.record)
		if err != nil {
			return err
		}
		if len(v.Pending) > 0 {
			if err := m.c.checkMarks(ctx, m.tier, m.repo, m.digest, m.key()); err != nil {
				return err
			}
		}
		if !ok {
			return nil // nobody sees it
		}
	}
	blob, err := m.checkRecords(ctx)
	if err != nil || blob.Key == "" {
		return err
	}
	ok, err := m.read(ctx, blob)
	if err != nil || !ok {
		return err
	}
	depth, err := m.checkNeeds(ctx)
	if err != nil {
		return err
	}
	if err := m.checkRecord(ctx, depth); err != nil || m.parsed.Subject == nil {
		return err
	}
	return m.checkReferrer(ctx)
}

// checkRecords looks for the records that stand beside that of any manifest, and returns
// that of its bytes.
func (m *manifestCheck) checkRecords(ctx context.Context) (blobRecord, error) {
	c := m.c
	keys := []string{m.key(), blobKey(m.store.id, m.digest), selfKey(m.store.id, m.digest, m.tier.Name, m.repo), repoKey(m.tier.Name, m.repo)}
	records, err := c.Get(ctx, keys...)
	if err != nil || records[0].Revision == 0 {
		return blobRecord{}, err
	}
	if records[2].Revision == 0 {
		f := m.finding("I3", KindSelfReferenceMissing, Danger, keys[2])
		f.Message = fmt.Sprintf("nothing says that the bytes of %s are needed: the next collection may take them", m.name())
		if err := m.restore(ctx, f, records[:1], Put{Key: keys[2]}); err != nil {
			return blobRecord{}, err
		}
	}
	if records[3].Revision == 0 {
		f := m.finding("I2", KindRepositoryMissing, Fault, keys[3])
		f.Affected, f.Digest = nil, ""
		f.Message = fmt.Sprintf("%s/%s holds manifests and has no record: it is not listed, and its tags cannot be", m.tier.Name, m.repo)
		if err := m.restore(ctx, f, records[:1], Put{Key: keys[3], Value: Encode(repositoryRecord{})}); err != nil {
			return blobRecord{}, err
		}
	}
	if records[1].Revision == 0 {
		return blobRecord{}, m.bytesMissing(ctx, records[1])
	}
	b, err := Decode[blobRecord](records[1])
	if err != nil || saneBlob(b) != nil {
		return blobRecord{}, nil // reported with the blobs
	}
	return b, nil
}

// remedyWritten is that of a record which follows from another one.
const remedyWritten = "sluice fsck --repair   # writes it anew from the manifest"

// restore reports a record that follows from the manifest and is missing, or wrong, and
// writes it as long as the manifest and what the judgement rests on stand as they were read.
func (m *manifestCheck) restore(ctx context.Context, f Finding, rests []Record, put Put) error {
	f.Remedy = remedyWritten
	return m.c.Found(ctx, f, func(ctx context.Context) error {
		change := Change{Put: []Put{put}}
		absent := true
		for _, r := range rests {
			change.If = append(change.If, Unchanged(r))
			absent = absent && r.Key != put.Key
		}
		if absent {
			change.If = append(change.If, Absent(put.Key))
		}
		return m.c.Mend(ctx, f, change)
	})
}

// bytesMissing reports a manifest whose store has no record of its bytes.
func (m *manifestCheck) bytesMissing(ctx context.Context, blob Record) error {
	if m.c.isLost(blob.Key) {
		return nil
	}
	f := m.finding("I1", KindBytesMissing, Danger, blob.Key)
	f.Message = fmt.Sprintf("the store does not have the bytes of %s", m.name())
	f.Remedy = remedyLost(m.digest)
	return m.c.Found(ctx, f, func(ctx context.Context) error {
		return m.c.restore(ctx, m.store, f, blob, m.c.others(m.store), nil)
	})
}

// isLost says whether this check has found the bytes of a blob to be nowhere already.
func (c *Checking) isLost(key string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost[key]
}

// read reads the manifest, past all caches, and parses it.
func (m *manifestCheck) read(ctx context.Context, b blobRecord) (ok bool, err error) {
	body, ok, err := m.c.content(ctx, m.store, m.digest, b, oci.MaxManifestSize)
	if err != nil || !ok {
		return false, err
	}
	m.size = int64(len(body))
	itself, untyped := oci.ParseManifest("", body)
	m.typed = untyped == nil
	if m.parsed, err = oci.ParseManifest(m.value.MediaType, body); err == nil {
		return true, nil
	}
	if m.typed { // the record says another type
		m.parsed = itself
		return true, nil
	}
	for _, mediaType := range []string{ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, oci.MediaTypeDockerManifest, oci.MediaTypeDockerList, oci.MediaTypeArtifactManifest} {
		if parsed, parseErr := oci.ParseManifest(mediaType, body); parseErr == nil {
			m.parsed = parsed
			return true, nil
		}
	}
	f := m.finding("I1", KindManifestInvalid, Fault, m.key())
	f.Message = fmt.Sprintf("%s does not parse: %s", m.name(), shortened(err.Error()))
	f.Remedy = m.goes("push what is meant again, and delete it")
	return false, m.c.Found(ctx, f, nil)
}

// goes is a remedy where clients may push, and what to do in a tier where they may not.
func (m *manifestCheck) goes(pushed string) string {
	if m.tier.Push {
		return pushed
	}
	return fmt.Sprintf("see how it came to %s (sluice status %s), and promote what is meant from %s", m.tier.Name, m.repo, m.tier.From)
}

// content reads the bytes of a blob whole, as the bucket has them now. ok is false where
// they are not what the digest says, or not there; that is reported.
func (c *Checking) content(ctx context.Context, s *checkStore, d digest.Digest, b blobRecord, limit int64) (body []byte, ok bool, err error) {
	for range checkTries {
		if b.Size > limit {
			_, err := c.checkObject(ctx, s, d)
			return nil, false, err
		}
		var buf bytes.Buffer
		err := c.patiently(ctx, func() error { buf.Reset(); return readObject(ctx, s.bucket(), b, &buf) })
		c.report.add(func(now *Checked) { now.ReadBytes += int64(buf.Len()) })
		if err == nil && d.Algorithm().FromBytes(buf.Bytes()) == d {
			c.heard()
			return buf.Bytes(), true, nil
		}
		now, again, err := c.judge(ctx, s, d, b, err)
		if err != nil || !again {
			return nil, false, err
		}
		b = now
	}
	return nil, false, nil
}

// Content reads the bytes of a digest in the store of t whole, past all caches, at most limit
// of them. ok is false where they are not to be had; where that is a fault it is reported.
func (c *Checking) Content(ctx context.Context, t *Tier, d digest.Digest, limit int64) (body []byte, ok bool, err error) {
	s := c.of(t)
	_, b, err := c.blob(ctx, s, d)
	if err != nil || b.Key == "" {
		return nil, false, err
	}
	return c.content(ctx, s, d, b, limit)
}

// readObject copies the bytes of a blob to w.
func readObject(ctx context.Context, bucket Bucket, b blobRecord, w io.Writer) error {
	rc, err := bucket.Open(ctx, b.Key, 0, b.Size)
	if err != nil {
		return err
	}
	defer rc.Close()
	if _, err := io.Copy(w, rc); err != nil {
		return fmt.Errorf("%w: %w", oci.ErrUnavailable, err)
	}
	return nil
}
