package policy

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// BenchmarkThousandAttestations verifies and evaluates 1,000 provenances of 10 KiB each,
// signed with one key, of which the last alone satisfies the rule.
//
// The bounds are 2 s and 128 MiB; peak-MiB is the largest heap that was seen, attestations
// and all.
func BenchmarkThousandAttestations(b *testing.B) {
	private, public, err := attest.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	signer, err := attest.LoadPrivateKey(private, nil)
	if err != nil {
		b.Fatal(err)
	}
	keys := newKeyring(b, "b", "c")
	keys["a.pub"] = public
	p := load(b, keys, builtBy("from: {authorities: [a]}, maxAge: 168h, where: [\"predicate.buildDefinition.externalParameters.ref == 'refs/tags/v999'\"]"))
	attachments := make([]attest.Attachment, 1000)
	for i := range attachments {
		predicate := largeProvenance(b, fmt.Sprintf("refs/tags/v%d", i))
		statement, err := attest.NewStatement(typeProvenance, predicate, "", root)
		if err != nil {
			b.Fatal(err)
		}
		bundle, err := attest.Sign(context.Background(), statement, signer)
		if err != nil {
			b.Fatal(err)
		}
		desc := ocispec.Descriptor{Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}
		attachments[i] = attest.Attachment{Manifest: desc, Layer: desc, Format: attest.FormatBundle, Content: bundle}
	}
	runtime.GC()
	var peak uint64
	for b.Loop() {
		f := Facts{Repository: "acme/app", Digest: root, MediaType: ocispec.MediaTypeImageManifest, Now: noon}
		for i, attachment := range attachments {
			f.Evidence = append(f.Evidence, attest.Verify(attachment, root, p.Authorities(), noon))
			if i%100 == 0 {
				peak = max(peak, heap())
			}
		}
		if v := p.Evaluate(f); !v.Allowed {
			b.Fatal(v.Rules[0].Message)
		}
		peak = max(peak, heap())
	}
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N*len(attachments)), "ms/attestation")
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// largeProvenance is a SLSA provenance of about 10 KiB.
func largeProvenance(b *testing.B, ref string) []byte {
	b.Helper()
	var dependencies []any
	for i := range 60 {
		name := fmt.Sprintf("pkg:golang/example.com/module%d@v1.2.3", i)
		dependencies = append(dependencies, map[string]any{"uri": name, "digest": map[string]any{"sha256": digest.FromString(name).Encoded()}})
	}
	text, err := json.Marshal(map[string]any{
		"buildDefinition": map[string]any{
			"buildType": "https://example.com/build/v1", "externalParameters": map[string]any{"ref": ref}, "resolvedDependencies": dependencies,
		},
		"runDetails": map[string]any{
			"builder": map[string]any{"id": "https://example.com/ci"}, "metadata": map[string]any{"finishedOn": noon.Format(time.RFC3339)},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return text
}
