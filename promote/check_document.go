package promote

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// maxBundle is how large a signed summary or approval may be, in bytes.
const maxBundle = 4 << 20

// checkDocument compares what a document says with the promotion and with what stands there.
func (v *verdictCheck) checkDocument(ctx context.Context, t *tiers.Tier, j journal, doc Record) error {
	o := opened{journal: j}
	target := v.targetOf(j)
	if target == nil {
		return nil // the tier is not configured any more
	}
	var says string
	switch listed := digestsOf(doc); {
	case !o.arrived():
		says = fmt.Sprintf("there is a document of what it brought, and it is %s", j.State)
	case t.Store() != target.Tier.Store():
		says = "the document of what it brought is kept in another bucket than it brought it to"
	case len(listed) != j.Moved.Manifests:
		says = fmt.Sprintf("the document lists %d manifests that it brought, its journal %d", len(listed), j.Moved.Manifests)
	case j.State == Succeeded && !slices.Contains(listed, j.Summary):
		says = "the document does not list its summary " + j.Summary.String()
	}
	if says != "" {
		return v.contradicts(ctx, j, says)
	}
	if err := v.lost(ctx, j, target, doc); err != nil {
		return err
	}
	if j.State == Succeeded {
		return v.summary(ctx, j, target)
	}
	return v.evidenceOnly(ctx, j, target, doc)
}

// lost reports manifests that a promotion made visible and that are not there any more:
// above the tiers that are pushed to nothing goes away.
func (v *verdictCheck) lost(ctx context.Context, j journal, target *tiers.Repository, doc Record) error {
	for some := range slices.Chunk(doc.Manifests, tiers.MaxOps) {
		keys := make([]string, len(some))
		for i, m := range some {
			keys[i] = target.HasManifest(m.Digest).Key
		}
		records, err := v.Get(ctx, keys...)
		if err != nil {
			return err
		}
		for i, record := range records {
			if record.Revision != 0 {
				continue
			}
			f := about(j, "I1", KindManifestLost, tiers.Danger)
			f.Key, f.Digest = record.Key, some[i].Digest
			f.Message = fmt.Sprintf("promotion %s brought %s to %s, where it is not any more: whoever relies on it finds nothing", j.ID, some[i].Digest, target.FullName())
			f.Remedy = fmt.Sprintf("sluice promote HOST/%s/%s@%s --to %s   # brings it again with what it belongs to, where that is still below", j.From, j.Repository, j.Digest, j.To)
			if err := v.Found(ctx, f, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// summary verifies the signed summary of a promotion with the key of the tier that it rose
// to, and looks whether it is of this promotion.
func (v *verdictCheck) summary(ctx context.Context, j journal, target *tiers.Repository) error {
	says, err := v.summarySays(ctx, j, target)
	if err != nil || says == "" {
		return err
	}
	f := about(j, "I4", KindSummaryUnverified, tiers.Fault)
	f.Digest = j.Summary
	f.Message = fmt.Sprintf("the summary %s, by which consumers know that %s stands in %s, %s", j.Summary, j.Digest, target.FullName(), says)
	f.Remedy = "where the key of the tier was replaced, configure the former one again, or promote the artifact under another tag so that it is signed with the new one; else find out who wrote it"
	return v.Found(ctx, f, nil)
}

// summarySays says what is wrong with the summary; empty where nothing is, or where what is
// wrong is reported as a fault of the manifest.
func (v *verdictCheck) summarySays(ctx context.Context, j journal, target *tiers.Repository) (string, error) {
	m, attachment, ok, err := v.bundle(ctx, target.Tier, j.Summary)
	if err != nil || m == nil {
		return "", err
	}
	if !ok || m.Subject == nil || m.Subject.Digest != j.Digest {
		return "is not one of it", nil
	}
	if attachment.Content == nil {
		return "", nil
	}
	signer := v.engine.signers[j.To]
	authority := attest.Authority{Name: j.To, Keys: []attest.Key{signer.key}}
	ev := attest.Verify(attachment, j.Digest, []attest.Authority{authority}, v.engine.registry.Now())
	if !ev.Verified() {
		return "is not signed with the tier's key " + signer.key.ID + ": " + ev.Problem, nil
	}
	var p summaryPredicate
	raw, err := json.Marshal(ev.Predicate())
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(raw, &p); err != nil || ev.PredicateType != SummaryType {
		return "states something else", nil
	}
	switch {
	case p.Result != "PASSED":
		return fmt.Sprintf("says %q", p.Result), nil
	case p.Promotion.Promotion != j.ID || p.Promotion.To != j.To:
		return fmt.Sprintf("is of promotion %q to %q, not of %s to %s", p.Promotion.Promotion, p.Promotion.To, j.ID, j.To), nil
	case j.Verdict != nil && p.Policy.Digest[j.Verdict.Policy.Digest.Algorithm().String()] != j.Verdict.Policy.Digest.Encoded():
		return "names another policy than the verdict", nil
	}
	return "", nil
}

// bundle reads a manifest that carries one Sigstore bundle and nothing else; ok says that it
// is one. m is nil, or the attachment without content, where that cannot be read: it is
// reported as a fault of the manifest or blob.
func (v *verdictCheck) bundle(ctx context.Context, t *tiers.Tier, d digest.Digest) (m *oci.Manifest, a attest.Attachment, ok bool, err error) {
	m, err = v.manifest(ctx, t, d)
	if err != nil || m == nil {
		return nil, a, false, err
	}
	if len(m.Layers) != 1 || !isBundleLayer(m.Layers[0].MediaType) || len(m.Children) > 0 || m.Config == nil || !plainConfig(*m.Config, 1) {
		return m, a, false, nil
	}
	a = attest.Attachment{Manifest: ocispec.Descriptor{MediaType: m.MediaType, Digest: d}, Layer: m.Layers[0], Format: attest.FormatBundle}
	content, _, err := v.Content(ctx, t, m.Layers[0].Digest, maxBundle)
	a.Content = content
	return m, a, err == nil, err
}

func isBundleLayer(mediaType string) bool {
	return oci.IsEvidence(mediaType) && attest.Holds(mediaType)
}

// manifest reads a manifest as the bucket has it; nil where it cannot be read.
func (v *verdictCheck) manifest(ctx context.Context, t *tiers.Tier, d digest.Digest) (*oci.Manifest, error) {
	body, ok, err := v.Content(ctx, t, d, oci.MaxManifestSize)
	if err != nil || !ok {
		return nil, err
	}
	for _, mediaType := range []string{"", ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex} {
		if m, err := oci.ParseManifest(mediaType, body); err == nil {
			return m, nil
		}
	}
	return nil, nil
}

// evidenceOnly looks whether what rose although the policy said no is evidence and nothing
// else. Who had signed it was asked when it rose.
func (v *verdictCheck) evidenceOnly(ctx context.Context, j journal, target *tiers.Repository, doc Record) error {
	var other []digest.Digest
	for _, rose := range doc.Manifests {
		m, err := v.manifest(ctx, target.Tier, rose.Digest)
		if err != nil {
			return err
		}
		if m != nil && !holdsEvidence(m) {
			other = append(other, rose.Digest)
		}
	}
	if len(other) == 0 {
		return nil
	}
	f := about(j, "I4", KindManifestUnvouched, tiers.Danger)
	f.Message = fmt.Sprintf("promotion %s was refused, and brought more to %s than evidence: %s", j.ID, target.FullName(), joined(other))
	f.Remedy = "find out how it came there; nobody should deploy it"
	return v.Found(ctx, f, nil)
}

// holdsEvidence says whether a manifest is made as one that holds attestations alone.
func holdsEvidence(m *oci.Manifest) bool {
	for _, layer := range m.Layers {
		if !attest.Holds(layer.MediaType) {
			return false
		}
	}
	return len(m.Layers) > 0 && len(m.Children) == 0 && m.Config != nil && plainConfig(*m.Config, len(m.Layers))
}

// ownWrite says whether a manifest that no promotion brought is one that the registry writes
// itself where something rises from: an approval of an artifact that stands there. It needs
// no verdict, for it holds nothing else, and whether it counts is asked whenever anything is
// decided.
func (v *verdictCheck) ownWrite(ctx context.Context, at place) (bool, error) {
	t, err := v.engine.registry.Tier(at.tier)
	if err != nil || !slices.ContainsFunc(v.engine.registry.Tiers(), func(above *tiers.Tier) bool { return above.From == t.Name }) {
		return false, nil
	}
	m, attachment, ok, err := v.bundle(ctx, t, at.digest)
	if err != nil || !ok || m.Subject == nil {
		return m == nil && err == nil, err // one that cannot be read is reported as that
	}
	ev := attest.Verify(attachment, m.Subject.Digest, nil, v.engine.registry.Now())
	if ev.PredicateType != policy.ApprovalType {
		return false, nil
	}
	_, err = policy.ParseApproval(ev.Predicate())
	return err == nil, nil
}
