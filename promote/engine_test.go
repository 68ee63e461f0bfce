package promote_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

const (
	provenanceType = "https://slsa.dev/provenance/v1"
	testType       = "https://in-toto.io/attestation/test-result/v0.1"
	repository     = "acme/app"
)

// gate is an engine over real stores, with a CI key that its policies trust.
type gate struct {
	*testing.T
	config   tiers.Config // of registry; other processes have registries of their own
	registry *tiers.Registry
	engine   *promote.Engine
	signers  map[string]crypto.Signer
	ci       crypto.Signer
	ciPEM    string
	// processes are the registries over the stores: each announces keys of its own.
	processes *[]*tiers.Registry
}

// newKey makes a key pair. The encrypted files of attest.GenerateKey cost a second each.
func newKey(t testing.TB) (crypto.Signer, string) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := attest.MarshalPublicKey(signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer, string(public)
}

func newGate(t *testing.T, edit func(*tiers.Config)) *gate {
	t.Helper()
	g := bareGate(t, edit)
	g.setPolicy("dev-to-stable", "dev", "stable", "")
	g.setPolicy("stable-to-release", "stable", "release", "")
	return g
}

// bareGate has no policies.
func bareGate(t *testing.T, edit func(*tiers.Config)) *gate {
	t.Helper()
	g := &gate{T: t, signers: map[string]crypto.Signer{}}
	g.registry = stores.Registry(t, func(config *tiers.Config) {
		if edit != nil {
			edit(config)
		}
		g.config = *config
	})
	g.processes = &[]*tiers.Registry{g.registry}
	g.ci, g.ciPEM = newKey(t)
	for _, tier := range []string{"stable", "release"} {
		g.signers[tier], _ = newKey(t)
	}
	g.engine = g.start(true)
	return g
}

// start makes another engine over the same catalog: a replica, or the next start.
func (g *gate) start(alone bool) *promote.Engine {
	g.Helper()
	engine, err := promote.New(promote.Config{Registry: g.registry, Signers: g.signers, URL: "https://registry.example.com", Ledger: "registry.example.com/ledger",
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Alone: alone})
	if err != nil {
		g.Fatal(err)
	}
	g.Cleanup(engine.Close)
	return engine
}

// policyDocument asks for provenance by ci; extra lines go into spec.
func (g *gate) policyDocument(name, from, to, extra string) []byte {
	pem := strings.ReplaceAll(strings.TrimSpace(g.ciPEM), "\n", "\n          ")
	return []byte(fmt.Sprintf(`apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: %s}
spec:
  from: %s
  to: %s
%s
  authorities:
    - name: ci
      key:
        pem: |
          %s
  require:
    - name: built-by-ci
      predicateTypes: ["%s"]
      from: {authorities: [ci]}
`, name, from, to, extra, pem, provenanceType))
}

func (g *gate) setPolicy(name, from, to, extra string) {
	g.Helper()
	if _, err := g.engine.SetPolicy(g.Context(), "admin", name, g.policyDocument(name, from, to, extra), ""); err != nil {
		g.Fatal(err)
	}
}

func (g *gate) repo(tier string) *tiers.Repository {
	g.Helper()
	r, err := g.registry.Repository(tier, repository, "dev@example.com")
	if err != nil {
		g.Fatal(err)
	}
	return r
}

func (g *gate) blob(data []byte, mediaType string) ocispec.Descriptor {
	g.Helper()
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := g.repo("dev").Push(g.Context(), desc, bytes.NewReader(data)); err != nil {
		g.Fatal(err)
	}
	return desc
}

func (g *gate) manifest(reference, mediaType string, document any) ocispec.Descriptor {
	g.Helper()
	body, err := json.Marshal(document)
	if err != nil {
		g.Fatal(err)
	}
	if reference == "" {
		reference = digest.FromBytes(body).String()
	}
	pushed, err := g.repo("dev").PutManifest(g.Context(), reference, "", mediaType, body)
	if err != nil {
		g.Fatal(err)
	}
	return ocispec.Descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}
}

// image pushes an image with one layer of the given content.
func (g *gate) image(tag, content string, subject *ocispec.Descriptor) ocispec.Descriptor {
	g.Helper()
	return g.manifest(tag, ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config:  g.blob([]byte(`{"os":"linux","architecture":"amd64","content":"`+content+`"}`), ocispec.MediaTypeImageConfig),
		Layers:  []ocispec.Descriptor{g.blob([]byte("layer "+content), ocispec.MediaTypeImageLayer)},
		Subject: subject,
	})
}

// platforms pushes a two-platform image.
func (g *gate) platforms(tag string) ocispec.Descriptor {
	g.Helper()
	var children []ocispec.Descriptor
	for _, arch := range []string{"amd64", "arm64"} {
		child := g.image("", tag+arch, nil)
		child.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		children = append(children, child)
	}
	return g.manifest(tag, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: children})
}

// attest attaches a signed statement in dev.
func (g *gate) attest(subject ocispec.Descriptor, predicateType, predicate string, signer crypto.Signer) ocispec.Descriptor {
	g.Helper()
	statement, err := attest.NewStatement(predicateType, []byte(predicate), "app", subject.Digest)
	if err != nil {
		g.Fatal(err)
	}
	bundle, err := attest.Sign(g.Context(), statement, signer)
	if err != nil {
		g.Fatal(err)
	}
	carrier, err := attest.Attach(g.Context(), g.repo("dev"), bundle, predicateType, subject, time.Now())
	if err != nil {
		g.Fatal(err)
	}
	return carrier
}

func (g *gate) provenance(subject ocispec.Descriptor) ocispec.Descriptor {
	return g.attest(subject, provenanceType, `{"buildDefinition":{"buildType":"https://example.com/b"}}`, g.ci)
}

func request(reference, to string, tags ...string) promote.Request {
	return promote.Request{Repository: repository, Reference: reference, To: to, Tags: tags}
}

// promoteOK promotes and expects success.
func (g *gate) promoteOK(r promote.Request) promote.Promotion {
	g.Helper()
	p, _, err := g.engine.Promote(g.Context(), "manager", r)
	if err != nil || p.State != promote.Succeeded {
		verdict, _ := json.Marshal(p.Verdict)
		g.Fatalf("got %s, %v; want it to succeed: %s %s", p.State, err, p.Error, verdict)
	}
	return p
}

// noTraces checks that nothing is left open, staged, pinned or announced.
func (g *gate) noTraces() {
	g.Helper()
	g.nothingOpen()
	for _, registry := range *g.processes {
		if err := registry.Release(context.Background()); err != nil {
			g.Fatal(err)
		}
	}
	g.without("store/", "/intent/")
}

// nothingOpen is noTraces after a fault: an object that a write may or may not have made
// stays announced, for garbage collection.
func (g *gate) nothingOpen() {
	g.Helper()
	g.tidied()
	for _, prefix := range []string{"promotion-open/", "staged/", "committed/", "pinned/"} {
		g.without(prefix, "")
	}
	g.without("store/", "/.pin/")
}

// tidied waits until promotions that have ended are tidied up: who asks for one is answered
// before.
func (g *gate) tidied() {
	g.Helper()
	for range 500 {
		records, err := g.registry.Catalog().List(context.Background(), tiers.Query{Prefix: "promotion-open/", Limit: 1})
		if err != nil {
			g.Fatal(err)
		}
		if len(records) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// without checks that no key with the prefix contains part.
func (g *gate) without(prefix, part string) {
	g.Helper()
	records, err := g.registry.Catalog().List(context.Background(), tiers.Query{Prefix: prefix, Limit: tiers.MaxPage})
	if err != nil {
		g.Fatal(err)
	}
	for _, r := range records {
		if strings.Contains(r.Key, part) {
			g.Errorf("left behind: %s %s", r.Key, r.Value)
		}
	}
}

func TestPromote(t *testing.T) {
	shared := stores.Bucket(t)
	for name, edit := range map[string]func(*tiers.Config){
		"three buckets": nil,
		"one bucket": func(c *tiers.Config) {
			for i := range c.Tiers {
				c.Tiers[i].Bucket = shared
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, edit)
			index := g.platforms("1.0")
			first, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			if err != nil || !created || first.State != promote.Failed || first.Verdict.Allowed {
				t.Fatalf("without evidence: got %+v, %v, want Failed", first, err)
			}
			if _, err := g.repo("stable").Resolve(t.Context(), "1.0"); !errors.Is(err, oci.ErrManifestUnknown) {
				t.Fatalf("a refused artifact can be seen: %v", err)
			}
			g.noTraces()

			provenance := g.provenance(index)
			p := g.promoteOK(request("1.0", "stable"))
			if p.Digest != index.Digest || p.Summary == "" || p.Moved.Manifests != 5 || len(p.Tags) != 1 {
				t.Errorf("got %+v", p)
			}
			if edit == nil && (p.Moved.Copied == 0 || p.Moved.Streamed != 0) || edit != nil && (p.Moved.Copied != 0 || p.Moved.Linked == 0) {
				t.Errorf("moved %+v", p.Moved)
			}
			g.complete("stable", "1.0", index.Digest)
			referrers, _, err := g.repo("stable").Referrers(t.Context(), index.Digest, "", "", 10)
			if err != nil || len(referrers) != 2 {
				t.Errorf("got referrers %v, %v; want the provenance %s and the summary", referrers, err, provenance.Digest)
			}
			g.noTraces()

			again, created, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			if err != nil || created || again.ID != p.ID {
				t.Errorf("asked again: got %s created=%v, %v; want %s", again.ID, created, err, p.ID)
			}
			g.promoteOK(request("1.0", "release"))
			g.complete("release", "1.0", index.Digest)
			g.noTraces()
		})
	}
}

// complete reads everything that a reference leads to and compares the bytes.
func (g *gate) complete(tier, reference string, want digest.Digest) {
	g.Helper()
	repo := g.repo(tier)
	desc, body, err := repo.Manifest(g.Context(), reference)
	if err != nil || want != "" && desc.Digest != want {
		g.Fatalf("%s/%s: got %s, %v; want %s", tier, reference, desc.Digest, err, want)
	}
	m, err := oci.ParseManifest(desc.MediaType, body)
	if err != nil {
		g.Fatal(err)
	}
	for _, b := range m.Blobs() {
		blob, err := repo.Blob(g.Context(), b.Digest)
		if err != nil {
			g.Fatalf("%s/%s: %v", tier, reference, err)
		}
		rc, err := blob.Open(g.Context(), 0, -1)
		if err != nil {
			g.Fatal(err)
		}
		got, err := digest.FromReader(rc)
		rc.Close()
		if err != nil || got != b.Digest {
			g.Fatalf("blob %s of %s/%s: got %s, %v", b.Digest, tier, reference, got, err)
		}
	}
	for _, c := range m.Children {
		g.complete(tier, c.Digest.String(), c.Digest)
	}
	referrers, err := repo.Predecessors(g.Context(), desc)
	if err != nil {
		g.Fatal(err)
	}
	for _, r := range referrers {
		g.complete(tier, r.Digest.String(), r.Digest)
	}
}
