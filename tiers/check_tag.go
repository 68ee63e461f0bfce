package tiers

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

// checkRecord compares the manifest's record with the manifest.
func (m *manifestCheck) checkRecord(ctx context.Context, depth int) error {
	records, err := m.c.Get(ctx, m.key())
	if err != nil || records[0].Revision == 0 {
		return err
	}
	v, err := Decode[ManifestRecord](records[0])
	if err != nil {
		return nil // reported where the family is read
	}
	want := v
	want.MediaType, want.Size, want.ArtifactType, want.Subject = m.parsed.MediaType, m.size, m.parsed.ArtifactType, ""
	if m.parsed.Subject != nil {
		want.Subject = m.parsed.Subject.Digest
	}
	if !m.shallow {
		want.Depth = depth
	}
	var differs []string
	for _, field := range []struct {
		name      string
		has, want any
	}{{"mediaType", v.MediaType, want.MediaType}, {"size", v.Size, want.Size}, {"artifactType", v.ArtifactType, want.ArtifactType}, {"subject", v.Subject, want.Subject}, {"depth", v.Depth, want.Depth}} {
		if field.has != field.want {
			differs = append(differs, fmt.Sprintf("%s %v and not %v", field.name, field.has, field.want))
		}
	}
	if len(differs) == 0 {
		return nil
	}
	f := m.finding("I2", KindManifestRecord, Fault, m.key())
	f.Message = fmt.Sprintf("the record of %s says %s, as the manifest does: clients are told so", m.name(), strings.Join(differs, ", "))
	if !m.typed && v.MediaType != want.MediaType {
		f.Remedy = m.goes("the manifest does not say of what type it is: push it again with the right Content-Type after deleting it")
		return m.c.Found(ctx, f, nil)
	}
	return m.restore(ctx, f, records, Put{Key: m.key(), Value: Encode(want)})
}

// checkReferrer looks whether the manifest is listed with its subject, as what it is.
func (m *manifestCheck) checkReferrer(ctx context.Context) error {
	key := referrerPrefix(m.tier.Name, m.repo, m.parsed.Subject.Digest) + m.digest.String()
	records, err := m.c.Get(ctx, m.key(), key)
	if err != nil || records[0].Revision == 0 {
		return err
	}
	manifest, err := Decode[ManifestRecord](records[0])
	if err != nil {
		return nil // reported where the family is read
	}
	want := newReferrer(manifest.descriptor(m.digest), m.parsed)
	want.MediaType, want.Size, want.Pending = m.parsed.MediaType, m.size, manifest.Pending
	f := m.finding("I2", KindReferrerMissing, Fault, key)
	f.Affected = nil
	put := Put{Key: key, Value: Encode(want)}
	if records[1].Revision == 0 {
		f.Message = fmt.Sprintf("%s is not listed as a referrer of %s: a signature or attestation that nobody finds does not count", m.name(), m.parsed.Subject.Digest)
		return m.restore(ctx, f, records[:1], put)
	}
	has, err := Decode[ReferrerRecord](records[1])
	switch {
	case err != nil:
		f.Kind, f.Message = KindRecordInvalid, fmt.Sprintf("the record by which %s is listed as a referrer cannot be read: the whole listing of %s fails", m.name(), m.parsed.Subject.Digest)
	case has.MediaType == want.MediaType && has.Size == want.Size && has.ArtifactType == want.ArtifactType && (has.Large || maps.Equal(has.Annotations, want.Annotations)):
		return nil
	default:
		f.Kind = KindReferrerRecord
		f.Message = fmt.Sprintf("%s is listed as a referrer of %s with another type, size or other annotations than it has", m.name(), m.parsed.Subject.Digest)
		want.Pending = has.Pending
		put.Value = Encode(want)
	}
	return m.restore(ctx, f, records, put)
}

// checkTags compares the tags of a tier with what they point at, both ways.
func (c *Checking) checkTags(ctx context.Context, t *Tier) error {
	prefix := "tier/" + t.Name + "/tag/"
	err := c.Records(ctx, "tags", prefix, func(page []Record) error {
		return c.each(ctx, page, func(ctx context.Context, record Record) error {
			repo, tag, ok := strings.Cut(strings.TrimPrefix(record.Key, prefix), ":")
			about := Finding{Invariant: "I2", Tier: t.Name, Repository: repo}
			if !ok {
				return c.badKey(ctx, record, about)
			}
			v, ok, err := CheckRecord(ctx, c, record, about, saneTag)
			if err != nil || !ok {
				return err
			}
			return c.checkTag(ctx, t, repo, tag, v.Digest)
		})
	})
	if err != nil {
		return err
	}
	prefix = "tier/" + t.Name + "/tagged/"
	return c.Records(ctx, "tagged", prefix, func(page []Record) error {
		return c.groups(ctx, page, func(ctx context.Context, group []Record) error { return c.checkTagged(ctx, t, prefix, group) })
	})
}

// checkTag compares a tag with the manifest that it pointed at a moment ago.
func (c *Checking) checkTag(ctx context.Context, t *Tier, repo, tag string, d digest.Digest) error {
	for range checkTries {
		records, err := c.Get(ctx, tagKey(t.Name, repo, tag), manifestKey(t.Name, repo, d), taggedPrefix(t.Name, repo, d)+tag)
		if err != nil || records[0].Revision == 0 {
			return err
		}
		v, err := Decode[TagRecord](records[0])
		if err != nil {
			return nil // reported where the family is read
		}
		if v.Digest != d {
			d = v.Digest
			continue
		}
		f := Finding{Invariant: "I2", Severity: Fault, Tier: t.Name, Repository: repo, Key: records[0].Key, Digest: d}
		name := t.Name + "/" + repo + ":" + tag
		if records[1].Revision == 0 {
			return c.danglingTag(ctx, t, f, name, tag, records)
		}
		m, err := Decode[ManifestRecord](records[1])
		if err != nil {
			return nil // reported with the manifests
		}
		if m.MediaType != v.MediaType || m.Size != v.Size {
			if m, err = c.really(ctx, t, repo, d, m); err != nil {
				return err
			}
		}
		if m.MediaType != v.MediaType || m.Size != v.Size {
			f.Kind, f.Remedy = KindTagRecord, remedyWritten
			f.Message = fmt.Sprintf("%s says %s of %d bytes, its manifest is a %s of %d: clients are told so", name, v.MediaType, v.Size, m.MediaType, m.Size)
			v.MediaType, v.Size = m.MediaType, m.Size
			err := c.Found(ctx, f, func(ctx context.Context) error {
				return c.Mend(ctx, f, Change{If: []Condition{Unchanged(records[0]), Unchanged(records[1])}, Put: []Put{{Key: records[0].Key, Value: Encode(v)}}})
			})
			if err != nil {
				return err
			}
		}
		if records[2].Revision != 0 {
			return nil
		}
		f.Kind, f.Key, f.Remedy = KindTaggedMissing, records[2].Key, remedyWritten
		f.Message = fmt.Sprintf("%s is not listed among the tags of its manifest: it would stay when that is deleted, and it cannot be deleted itself", name)
		return c.Found(ctx, f, func(ctx context.Context) error {
			return c.Mend(ctx, f, Change{If: []Condition{Present(records[0].Key), Unchanged(records[0]), Unchanged(records[2])}, Put: []Put{{Key: records[2].Key}}})
		})
	}
	return nil // it moves all the time
}

// really says what the record of a manifest should say, as far as others repeat it: where
// two records disagree, the manifest decides which of them is wrong. What cannot be read is
// left as the record says.
func (c *Checking) really(ctx context.Context, t *Tier, repo string, d digest.Digest, says ManifestRecord) (ManifestRecord, error) {
	s := c.of(t)
	_, b, err := c.blob(ctx, s, d)
	if err != nil || b.Key == "" {
		return says, err
	}
	m := &manifestCheck{c: c, store: s, tier: t, repo: repo, digest: d, value: says}
	ok, err := m.read(ctx, b)
	if err != nil || !ok {
		return says, err
	}
	says.MediaType, says.Size, says.Subject = m.parsed.MediaType, m.size, ""
	if m.parsed.Subject != nil {
		says.Subject = m.parsed.Subject.Digest
	}
	return says, nil
}

// danglingTag reports a tag without its manifest. Where clients push it goes; a tag that
// may not move keeps what it said, so that nothing else takes its place.
func (c *Checking) danglingTag(ctx context.Context, t *Tier, f Finding, name, tag string, records []Record) error {
	f.Kind = KindTagDangling
	f.Message = fmt.Sprintf("%s points at %s, which is not in the repository: whoever pulls it is told that it is unknown", name, f.Digest)
	if !t.Push {
		f.Remedy = fmt.Sprintf("sluice promote HOST/%s/%s@%s --to %s --tag %s   # brings the manifest again, where it is still below", t.From, f.Repository, f.Digest, t.Name, tag)
		return c.Found(ctx, f, nil)
	}
	if t.Immutable(tag) || evidenceSubject(tag) != "" {
		f.Remedy = fmt.Sprintf("push the manifest %s again under the same tag", f.Digest)
		return c.Found(ctx, f, nil)
	}
	f.Remedy = "push the tag again, or take it away with sluice fsck --repair"
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.mend(ctx, f, Change{
			If:     []Condition{Unchanged(records[0]), Absent(records[1].Key)},
			Delete: []string{records[0].Key, records[2].Key},
			Put:    []Put{{Key: repoKey(t.Name, f.Repository), Value: Encode(repositoryRecord{})}},
		}, Event{Type: EventUntagged, Tag: tag, Previous: f.Digest})
	})
}

// checkTagged looks for entries of manifests' lists of tags whose tag points elsewhere.
func (c *Checking) checkTagged(ctx context.Context, t *Tier, prefix string, group []Record) error {
	var keys []string
	for _, record := range group {
		repo, _, tag, ok := cutKey(strings.TrimPrefix(record.Key, prefix))
		if !ok || oci.CheckTag(tag) != nil {
			if err := c.leftOver(ctx, t, repo, record, KindTaggedLeftOver, "its key names no tag of a manifest", nil); err != nil {
				return err
			}
			continue
		}
		keys = append(keys, record.Key, tagKey(t.Name, repo, tag))
	}
	if len(keys) == 0 {
		return nil
	}
	records, err := c.Get(ctx, keys...)
	if err != nil {
		return err
	}
	for i := 0; i < len(records); i += 2 {
		tagged, tag := records[i], records[i+1]
		if tagged.Revision == 0 {
			continue
		}
		repo, d, name, _ := cutKey(strings.TrimPrefix(tagged.Key, prefix))
		v, err := Decode[TagRecord](tag)
		if tag.Revision != 0 && (err != nil || v.Digest == d) {
			continue // reported with the tags, or right
		}
		says := fmt.Sprintf("%s lists the tag %s, which does not point at it: it cannot be deleted as long as it does", d, name)
		if err := c.leftOver(ctx, t, repo, tagged, KindTaggedLeftOver, says, []Condition{Unchanged(tag)}); err != nil {
			return err
		}
	}
	return nil
}

// leftOver reports a record of a repository that follows from nothing any more, and deletes
// it as long as it, and what the judgement rests on, stands as it was read.
func (c *Checking) leftOver(ctx context.Context, t *Tier, repo string, record Record, kind, says string, rests []Condition) error {
	f := Finding{Invariant: "I2", Kind: kind, Severity: Fault, Tier: t.Name, Repository: repo, Key: record.Key, Message: says,
		Remedy: "sluice fsck --repair   # deletes the record"}
	return c.Found(ctx, f, func(ctx context.Context) error {
		return c.Mend(ctx, f, Change{If: append([]Condition{Unchanged(record)}, rests...), Delete: []string{record.Key}})
	})
}
