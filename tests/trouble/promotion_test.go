package trouble_test

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote/attest"
)

// attest attaches the evidence that lets an artifact of dev rise.
func (s *site) attest(repository string, d digest.Digest) ocispec.Descriptor {
	s.Helper()
	repo, err := s.registry.Repository("dev", repository, "ci")
	if err != nil {
		s.Fatal(err)
	}
	subject, err := repo.Resolve(s.Context(), d.String())
	if err != nil {
		s.Fatal(err)
	}
	statement, err := attest.NewStatement(provenanceType, []byte(`{"buildDefinition":{"buildType":"https://example.com/b"}}`), "app", d)
	if err != nil {
		s.Fatal(err)
	}
	bundle, err := attest.Sign(s.Context(), statement, s.ci)
	if err != nil {
		s.Fatal(err)
	}
	carrier, err := attest.Attach(s.Context(), repo, bundle, provenanceType, subject, time.Now())
	if err != nil {
		s.Fatal(err)
	}
	return carrier
}

// promotion asks that a reference of acme/app rise to stable.
func promotion(reference string) []byte {
	body, _ := json.Marshal(map[string]string{"repository": "acme/app", "reference": reference, "from": "dev", "to": "stable"}) // plain data
	return body
}

// begin opens an upload session and says where it is.
func (s *site) begin(repo string) string {
	s.Helper()
	return s.want(202, "POST", "/v2/"+repo+"/blobs/uploads/", nil).header.Get("Location")
}
