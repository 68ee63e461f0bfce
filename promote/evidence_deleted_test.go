package promote_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

// Evidence of every type that decisions rest on goes only with its subject: who could
// delete the newest test could bring back an older one.
func TestDeletedEvidenceOfEveryType(t *testing.T) {
	for _, artifactType := range []string{attest.MediaTypeBundle, attest.MediaTypeDSSE, oci.MediaTypeInToto, "application/vnd.dev.cosign.artifact.att.v1+json", attest.MediaTypeLink} {
		t.Run(artifactType, func(t *testing.T) {
			a := tested(t, "")
			image := a.image("1.0", "one", nil)
			a.result(image, "PASSED", 3*time.Hour)
			statement, err := attest.NewStatement(testType, fmt.Appendf(nil, `{"result":"FAILED","finishedOn":%q}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)), "app", image.Digest)
			a.must(err)
			bundle, err := attest.Sign(t.Context(), statement, a.ci)
			a.must(err)
			var parts struct {
				Envelope json.RawMessage `json:"dsseEnvelope"`
			}
			a.must(json.Unmarshal(bundle, &parts))
			failed := a.manifest("", ocispec.MediaTypeImageManifest, ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
				Config: a.blob([]byte("{}"), ocispec.MediaTypeEmptyJSON), Layers: []ocispec.Descriptor{a.blob(parts.Envelope, oci.MediaTypeDSSE)}, Subject: &image})
			a.promoteAgain(request("1.0", "stable"), promote.Failed)
			if err := a.repo("dev").DeleteManifest(t.Context(), failed.Digest); err != nil {
				return // as it should be
			}
			p, _, err := a.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			a.must(err)
			t.Errorf("the fail could be deleted; asked again: %s", p.State)
		})
	}
}
