package conformance_test

import (
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

const (
	typeImage = "application/vnd.oci.image.manifest.v1+json"
	typeIndex = "application/vnd.oci.image.index.v1+json"
	typeOctet = "application/octet-stream"

	zeros = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
)

// random makes content that no other test has.
func random(size int) string {
	b := make([]byte, size)
	_, _ = rand.Read(b) // never fails
	return string(b)
}

// descriptor describes content as JSON.
func descriptor(mediaType, content string) string {
	return sized(mediaType, digest.FromString(content).String(), fmt.Sprint(len(content)))
}

// sized is a descriptor that says whatever it is told.
func sized(mediaType, d, size string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%s}`, mediaType, d, size)
}

// image is a manifest with the empty object as its configuration and one layer; extra is
// put at its end, as `,"key":value`.
func image(layer, extra string) string {
	return imageOf(descriptor(typeOctet, "{}"), descriptor(typeOctet, layer), extra)
}

func imageOf(config, layers, extra string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, typeImage, config, layers, extra)
}

// indexOf is an index of the manifests that the descriptors name.
func indexOf(extra string, manifests ...string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]%s}`, typeIndex, strings.Join(manifests, ","), extra)
}

// promoted puts an image into any tier, as a promotion would.
func (r *registry) promoted(tb testing.TB, tier, name, tag, layer string) digest.Digest {
	tb.Helper()
	repo, err := r.filled.Repository(tier, name, "promotion")
	if err != nil {
		tb.Fatal(err)
	}
	for _, content := range []string{"{}", layer} {
		u, err := repo.StartUpload(tb.Context())
		if err == nil {
			err = u.Finish(tb.Context(), strings.NewReader(content), -1, int64(len(content)), digest.FromString(content))
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	pushed, err := repo.PutManifest(tb.Context(), tag, "", typeImage, []byte(image(layer, "")))
	if err != nil {
		tb.Fatal(err)
	}
	return pushed.Digest
}

// records lists what the catalog holds behind prefix.
func (r *registry) records(tb testing.TB, prefix string) []tiers.Record {
	tb.Helper()
	records, err := r.tiers.Catalog().List(tb.Context(), tiers.Query{Prefix: prefix, Limit: tiers.MaxPage})
	if err != nil {
		tb.Fatal(err)
	}
	return records
}
