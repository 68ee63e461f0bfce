package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// store is a registry and a gate in memory. It lists as the real ones do: in byte order,
// after last, at most n, next only where there is more.
type store struct {
	tiers      []*tiers.Tier
	manifests  map[string]map[digest.Digest][]byte // by tier/repository
	tags       map[string]map[string]digest.Digest
	promotions []promote.Promotion // newest first
	evidence   map[digest.Digest][]attest.Evidence
	infos      []promote.PolicyInfo
	held       map[digest.Digest]*tiers.Quarantine
	err        error // every answer, if set
}

func newStore() *store {
	return &store{
		tiers: []*tiers.Tier{
			{Name: "dev", Push: true},
			{Name: "stable", From: "dev", MovingTags: []string{"latest"}},
			{Name: "release", From: "stable"},
		},
		manifests: map[string]map[digest.Digest][]byte{},
		tags:      map[string]map[string]digest.Digest{},
		evidence:  map[digest.Digest][]attest.Evidence{},
	}
}

// push puts a manifest into a repository, tier/name.
func (s *store) push(full string, body []byte, tags ...string) digest.Digest {
	if s.manifests[full] == nil {
		s.manifests[full], s.tags[full] = map[digest.Digest][]byte{}, map[string]digest.Digest{}
	}
	d := digest.FromBytes(body)
	s.manifests[full][d] = body
	for _, tag := range tags {
		s.tags[full][tag] = d
	}
	return d
}

func page[T any](all []T, key func(T) string, last string, n int) ([]T, string) {
	var out []T
	for _, item := range all {
		if key(item) <= last && last != "" {
			continue
		}
		if len(out) == n {
			return out, key(out[n-1])
		}
		out = append(out, item)
	}
	return out, ""
}

func itself(s string) string { return s }

func sorted[K ~string, V any](m map[K]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, string(k))
	}
	slices.Sort(keys)
	return keys
}

func (s *store) Tiers() []*tiers.Tier { return slices.Clone(s.tiers) }

func (s *store) Repositories(_ context.Context, tier, last string, n int) ([]string, string, error) {
	var all []string
	for _, full := range sorted(s.manifests) {
		if name, ok := strings.CutPrefix(full, tier+"/"); ok {
			all = append(all, name)
		}
	}
	names, next := page(all, itself, last, n)
	return names, next, s.err
}

func (s *store) Tags(_ context.Context, tier, repository, last string, n int) ([]string, string, error) {
	tags, ok := s.tags[tier+"/"+repository]
	if !ok {
		return nil, "", fmt.Errorf("%w: %s/%s", oci.ErrNameUnknown, tier, repository)
	}
	names, next := page(sorted(tags), itself, last, n)
	return names, next, s.err
}

func (s *store) TagsOf(_ context.Context, tier, repository string, d digest.Digest) ([]string, error) {
	var out []string
	for _, tag := range sorted(s.tags[tier+"/"+repository]) {
		if s.tags[tier+"/"+repository][tag] == d {
			out = append(out, tag)
		}
	}
	return out, s.err
}

func (s *store) Resolve(ctx context.Context, tier, repository, reference string) (ocispec.Descriptor, error) {
	desc, _, err := s.Manifest(ctx, tier, repository, reference)
	return desc, err
}

func (s *store) Manifest(_ context.Context, tier, repository, reference string) (ocispec.Descriptor, []byte, error) {
	full := tier + "/" + repository
	d := digest.Digest(reference)
	if !oci.IsDigest(reference) {
		d = s.tags[full][reference]
	}
	body, ok := s.manifests[full][d]
	if !ok {
		return ocispec.Descriptor{}, nil, fmt.Errorf("%w: %s %s", oci.ErrManifestUnknown, full, reference)
	}
	m, err := oci.ParseManifest("", body)
	if err != nil {
		return ocispec.Descriptor{}, nil, err
	}
	return ocispec.Descriptor{MediaType: m.MediaType, ArtifactType: m.ArtifactType, Digest: d, Size: int64(len(body))}, body, s.err
}

func (s *store) Quarantine(_ context.Context, _, _ string, desc ocispec.Descriptor) (*tiers.Quarantine, error) {
	return s.held[desc.Digest], s.err
}

func (s *store) Promotion(_ context.Context, id string) (promote.Promotion, error) {
	for _, p := range s.promotions {
		if p.ID == id {
			return p, s.err
		}
	}
	return promote.Promotion{}, fmt.Errorf("%w: %s", oci.ErrPromotionUnknown, id)
}

func (s *store) Promotions(_ context.Context, filter promote.Filter, last string, n int) ([]promote.Promotion, string, error) {
	var out []promote.Promotion
	for _, p := range s.promotions {
		if last != "" && p.ID >= last || filter.Repository != "" && filter.Repository != p.Repository ||
			filter.To != "" && filter.To != p.To || filter.State != "" && filter.State != p.State {
			continue
		}
		if len(out) == n {
			return out, out[n-1].ID, s.err
		}
		out = append(out, p)
	}
	return out, "", s.err
}

func (s *store) Artifacts(ctx context.Context, tier, repository, last string, n int) ([]promote.Artifact, string, error) {
	var all []promote.Artifact
	for _, d := range sorted(s.manifests[tier+"/"+repository]) {
		desc, body, err := s.Manifest(ctx, tier, repository, d)
		if err != nil {
			return nil, "", err
		}
		m, err := oci.ParseManifest("", body)
		if err != nil {
			return nil, "", err
		}
		a := promote.Artifact{Descriptor: desc, Quarantine: s.held[desc.Digest], CreatedAt: now().Add(-26 * time.Minute), By: "ci"}
		if m.Subject != nil {
			a.Subject = m.Subject.Digest
		}
		if a.Tags, err = s.TagsOf(ctx, tier, repository, desc.Digest); err != nil {
			return nil, "", err
		}
		all = append(all, a)
	}
	out, next := page(all, func(a promote.Artifact) string { return a.Digest.String() }, last, n)
	return out, next, s.err
}

func (s *store) Evidence(_ context.Context, _, _ string, d digest.Digest) ([]attest.Evidence, error) {
	return s.evidence[d], s.err
}

func (s *store) Policies(context.Context) ([]promote.PolicyInfo, error) { return s.infos, s.err }

func (s *store) Policy(_ context.Context, name string) (promote.PolicyInfo, error) {
	for _, p := range s.infos {
		if p.Name == name {
			return p, s.err
		}
	}
	return promote.PolicyInfo{}, fmt.Errorf("%w: %s", oci.ErrPolicyUnknown, name)
}

func now() time.Time { return time.Date(2026, 11, 22, 10, 34, 5, 0, time.UTC) }

func ago(d time.Duration) time.Time { return now().Add(-d) }

const (
	keyID      = "9f2b61c07a4d53e8b1f0c2d3e4a5968778695a4b3c2d1e0f9f2b61c07a4d53e8"
	provenance = "https://slsa.dev/provenance/v1"
	sbom       = "https://spdx.dev/Document"
	testResult = "https://in-toto.io/attestation/test-result/v0.1"
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		return []byte(err.Error())
	}
	return data
}

func descriptor(mediaType, content string, size int64) map[string]any {
	return map[string]any{"mediaType": mediaType, "digest": digest.FromString(content), "size": size}
}

// image is the manifest of an image made from seed.
func image(seed string) []byte {
	return encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": descriptor(ocispec.MediaTypeImageConfig, "config "+seed, 1472),
		"layers": []any{descriptor(ocispec.MediaTypeImageLayerGzip, "base", 30<<20), descriptor(ocispec.MediaTypeImageLayerGzip, "app "+seed, 7_340_112)}})
}

func index(children ...map[string]any) []byte {
	return encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": children})
}

func child(d digest.Digest, size int, arch string) map[string]any {
	return map[string]any{"mediaType": ocispec.MediaTypeImageManifest, "digest": d, "size": size,
		"platform": map[string]any{"os": "linux", "architecture": arch}}
}

// attestation is the manifest of a referrer of subject.
func attestation(subject digest.Digest, artifactType, seed string) []byte {
	return encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": artifactType,
		"config":  map[string]any{"mediaType": ocispec.MediaTypeEmptyJSON, "digest": ocispec.DescriptorEmptyJSON.Digest, "size": 2},
		"layers":  []any{descriptor(artifactType, seed, 4096)},
		"subject": map[string]any{"mediaType": ocispec.MediaTypeImageIndex, "digest": subject, "size": 491}})
}

// attached is the digest of the attestation that release made of seed.
func (s *store) attached(subject digest.Digest, seed string) digest.Digest {
	return digest.FromBytes(attestation(subject, bundleType, seed))
}

func signedBy(authority string) []attest.Signer {
	return []attest.Signer{{Authority: authority, Principal: authority, KeyID: keyID}}
}

// sample is a registry with a story in it: 1.4.0 is in release, 1.4.1 in stable, 1.5.0-rc1
// was refused.
func sample() *store {
	s := newStore()
	document := "apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata:\n  name: dev-to-stable\nspec:\n  from: dev\n  to: stable\n  repositories: [\"**\"]\n  carry: all\n  authorities:\n    - name: ci\n      principal: ci\n      key:\n        pem: |\n          -----BEGIN PUBLIC KEY-----\n          MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0b6uF3yQk4bq2h8J4Yk1\n          -----END PUBLIC KEY-----\n  require:\n    - name: provenance\n      mode: enforce\n      predicateTypes: [\"https://slsa.dev/provenance/v1\"]\n      where:\n        - predicate.buildDefinition.buildType != ''\n"
	for _, gate := range [][2]string{{"dev", "stable"}, {"stable", "release"}} {
		s.infos = append(s.infos, promote.PolicyInfo{Name: gate[0] + "-to-" + gate[1], Digest: digest.FromString("policy " + gate[0]), From: gate[0], To: gate[1],
			SetBy: "sluice", SetAt: ago(70 * time.Hour), Document: document})
	}
	at := time.Duration(0)
	for i, version := range []string{"1.5.0-rc1", "1.4.1", "1.4.0"} {
		d := s.release("acme/app", version, i, i == 2)
		at = s.tell("acme/app", version, d, i, at)
	}
	for i, name := range []string{"acme/worker", "acme/web/frontend", "platform/base-images/debian-slim-with-a-rather-long-name"} {
		d := s.release(name, "2."+fmt.Sprint(i), i%2, false)
		s.tags["dev/"+name]["latest"] = d
	}
	chart := encode(map[string]any{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
		"config": descriptor("application/vnd.cncf.helm.config.v1+json", "chart", 300), "layers": []any{descriptor("application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart content", 9000)}})
	s.push("dev/charts/app", chart, "0.3.1", "0.3.0")
	slices.SortFunc(s.promotions, func(a, b promote.Promotion) int { return strings.Compare(b.ID, a.ID) })
	return s
}

// release pushes a two-platform image with evidence into as many tiers as level says.
func (s *store) release(name, version string, level int, latest bool) digest.Digest {
	amd, arm := image(name+version+"amd64"), image(name+version+"arm64")
	body := index(child(digest.FromBytes(amd), len(amd), "amd64"), child(digest.FromBytes(arm), len(arm), "arm64"))
	d := digest.FromBytes(body)
	for i, t := range s.tiers[:level+1] {
		full := t.Name + "/" + name
		s.push(full, amd)
		s.push(full, arm)
		s.push(full, body, version)
		if latest && i > 0 {
			s.push(full, body, "latest")
		}
		for _, seed := range []string{provenance, sbom, testResult, "signature", "buildkit", "junk", "scan"} {
			s.push(full, attestation(d, bundleType, seed))
		}
	}
	ref := func(seed string) digest.Digest { return s.attached(d, seed) }
	s.evidence[d] = []attest.Evidence{
		{Manifest: ref(provenance), Subject: d, Format: attest.FormatBundle, PredicateType: provenance, Signers: signedBy("ci")},
		{Manifest: ref(sbom), Subject: digest.FromBytes(arm), Format: attest.FormatDSSE, PredicateType: sbom,
			Signers: []attest.Signer{{Authority: "gha", Principal: "ci", KeyID: keyID, Issuer: "https://token.example.com", Subject: "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"}}, SignedAt: ago(27 * time.Minute)},
		{Manifest: ref(testResult), Subject: d, Format: attest.FormatBundle, PredicateType: testResult,
			Problem: "the signature verifies with none of the keys of the policy: ci (9f2b61c07a4d)"},
		{Manifest: ref("buildkit"), Subject: d, Format: attest.FormatUnsigned, PredicateType: "https://slsa.dev/provenance/v0.2", Problem: "nobody signed it"},
		{Manifest: ref("junk"), Subject: d, Format: attest.FormatBundle, Problem: "not a bundle: jsontext: duplicate object member name \"subject\" within \"/dsseEnvelope\""},
	}
	return d
}

// tell adds the promotions of a version: refused, or through as many gates as level says.
func (s *store) tell(name, version string, d digest.Digest, level int, at time.Duration) time.Duration {
	rule := func(rule, predicateType string) policy.Rule {
		return policy.Rule{Name: rule, Mode: policy.Enforce, Allowed: true, Message: "sha256:" + d.Encoded()[:12] + "… by ci",
			Evidence: []policy.Used{{Digest: s.attached(d, predicateType), Subject: d, PredicateType: predicateType, Authority: "ci", Signer: keyID}}}
	}
	base := promote.Promotion{State: promote.Succeeded, Repository: name, Reference: version, Digest: d, Tags: []string{version}, RequestedBy: "release-bot"}
	for i := range max(level, 1) {
		p := base
		at += 13*time.Minute + time.Duration(i*i)*5*time.Hour
		p.From, p.To = s.tiers[i].Name, s.tiers[i+1].Name
		p.ID, p.CreatedAt = fmt.Sprintf("01KAN%021d", 1_000_000-int(at.Minutes())), ago(at)
		finished := p.CreatedAt.Add(1800 * time.Millisecond)
		p.FinishedAt = &finished
		p.Moved = promote.Moved{Manifests: 6, Blobs: 9, Bytes: 78_312_448, Copied: 11, Linked: 4}
		if level > 0 {
			p.Summary = s.push(p.To+"/"+name, attestation(d, bundleType, "vsa "+p.To))
		}
		p.Left = []promote.Left{{Digest: s.attached(d, "scan"), Subject: d, ArtifactType: "application/vnd.example.scan+json", Reason: "8 MiB, more than carry admits (4 MiB)"}}
		p.Verdict = &policy.Verdict{Allowed: true, Policy: policy.Identity{Name: p.From + "-to-" + p.To, Digest: digest.FromString("policy " + p.From)}, EvaluatedAt: p.CreatedAt,
			Rules: []policy.Rule{rule("provenance", provenance), rule("sbom", sbom), rule("tested", testResult)}}
		if level == 0 {
			s.refuse(&p)
		}
		s.promotions = append(s.promotions, p)
	}
	return at
}

// refuse makes a promotion one that the policy said no to, for three reasons.
func (s *store) refuse(p *promote.Promotion) {
	p.State, p.Reason, p.RequestedBy = promote.Failed, "hotfix for the login page,\nplease hurry", "ana"
	p.Moved, p.Left = promote.Moved{}, nil
	p.Verdict.Allowed = false
	remedy := "sluice attest registry.example.com/dev/" + p.Repository + ":" + p.Reference + "@" + p.Digest.String()
	rules := p.Verdict.Rules
	for i, t := range []string{provenance, sbom, testResult} {
		rules[i].Allowed, rules[i].Evidence = false, nil
		rules[i].Remedy = remedy + " --type " + t + " --predicate " + rules[i].Name + ".json --key ci.key"
	}
	rules[0].Message = "no attestation https://slsa.dev/provenance/v1 by ci"
	rules[1].Message = "linux/arm64 (sha256:51c0ffee51c0…): no attestation https://spdx.dev/Document by ci: sha256:9f86d081884c… is about linux/amd64"
	rules[2].Message = "no attestation https://in-toto.io/attestation/test-result/v0.1 holds: sha256:60303ae22b99… by ci: predicate.result == 'PASSED' is false"
	p.Verdict.Rules = append([]policy.Rule{{Name: "signed", Mode: policy.Enforce, Allowed: true, Message: "sha256:60303ae22b99… by ci",
		Evidence: []policy.Used{{Digest: s.attached(p.Digest, "signature"), PredicateType: "https://sigstore.dev/cosign/sign/v1", Authority: "ci", Signer: keyID}}}}, rules...)
	p.Verdict.Rules = append(p.Verdict.Rules, policy.Rule{Name: "scanned", Mode: policy.Warn, Message: "no attestation https://in-toto.io/attestation/vulns/v0.2 by scanner"})
}
