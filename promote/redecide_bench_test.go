package promote_test

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// BenchmarkRedecide revokes the key that all of SLUICE_REVOKE_ARTIFACTS released artifacts rest
// on, 20 where that is not set, and has them decided anew and put in quarantine. It times that
// alone.
func BenchmarkRedecide(b *testing.B) {
	n := 20
	if text := os.Getenv("SLUICE_REVOKE_ARTIFACTS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		b.StopTimer()
		engine, key := released(b, n)
		r, _, err := engine.Revoke(b.Context(), "security", promote.RevocationRequest{Kind: promote.RevokedKey, Value: key, Reason: "it was stolen"})
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		at, err := engine.Redecide(b.Context(), func(promote.Redeciding) {})
		b.StopTimer()
		if err != nil || at.Quarantined != n || at.Decided != n {
			b.Fatalf("revocation %s: %+v, %v", r.ID, at, err)
		}
		b.ReportMetric(float64(n)/time.Since(began).Seconds(), "artifacts/s")
		b.StartTimer()
	}
}

// released fills a release tier with artifacts, each with a provenance of its own, as a
// promotion would.
func released(b *testing.B, n int) (engine *promote.Engine, key string) {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	var config tiers.Config
	registry := stores.Registry(b, func(c *tiers.Config) { config = *c })
	ci, pem := newKey(b)
	parsed, err := attest.ParsePublicKey([]byte(pem))
	must(err)
	signers := map[string]crypto.Signer{}
	for _, tier := range []string{"stable", "release"} {
		signers[tier], _ = newKey(b)
	}
	engine, err = promote.New(promote.Config{Registry: registry, Signers: signers, URL: "https://registry.example.com", Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Alone: true})
	must(err)
	b.Cleanup(engine.Close)
	document := fmt.Sprintf("apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: stable-to-release}\nspec:\n  from: stable\n  to: release\n  onRevoked: quarantine\n  authorities:\n    - {name: ci, key: {pem: %q}}\n  require:\n    - {name: built-by-ci, predicateTypes: [%q], from: {authorities: [ci]}}\n", pem, provenanceType)
	_, err = engine.SetPolicy(b.Context(), "admin", "stable-to-release", []byte(document), "")
	must(err)
	config.Tiers = append([]tiers.Tier(nil), config.Tiers...)
	config.Tiers[2].Push, config.Tiers[2].From = true, "" // a promotion of each would take an hour
	open, err := tiers.New(b.Context(), config)
	must(err)
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(8)
	for i := range n {
		group.Go(func() error {
			repo, err := open.Repository("release", fmt.Sprintf("acme/app%d", i%50), "setup")
			if err != nil {
				return err
			}
			content := []byte(fmt.Sprintf(`{"os":"linux","architecture":"amd64","n":%d}`, i))
			config := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(content), Size: int64(len(content))}
			if err := repo.Push(ctx, config, bytes.NewReader(content)); err != nil {
				return err
			}
			body, err := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{config}})
			if err != nil {
				return err
			}
			pushed, err := repo.PutManifest(ctx, fmt.Sprintf("%d.0", i), "", ocispec.MediaTypeImageManifest, body)
			if err != nil {
				return err
			}
			image := ocispec.Descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}
			statement, err := attest.NewStatement(provenanceType, []byte(provenanceOf), "app", image.Digest)
			if err != nil {
				return err
			}
			bundle, err := attest.Sign(ctx, statement, ci)
			if err != nil {
				return err
			}
			_, err = attest.Attach(ctx, repo, bundle, provenanceType, image, time.Now())
			return err
		})
	}
	must(group.Wait())
	return engine, parsed.ID
}
