package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestDigestAlgorithm begins sessions for one algorithm (end-4c) and ends them under
// either.
func TestDigestAlgorithm(t *testing.T) {
	f := newFixture(t, nil)
	for _, size := range []int{0, 10, 6 << 20} {
		content := random(size)
		for _, query := range []string{"", "?digest-algorithm=sha256", "?digest-algorithm=sha512", "?mount=" + digest.SHA512.FromString("not here "+content).String()} {
			for _, end := range []digest.Algorithm{digest.SHA256, digest.SHA512} {
				d := end.FromString(content)
				begin := func() string {
					return f.want(f.do("POST", "/v2/dev/app/blobs/uploads/"+query, nil), 202, "").header.Get("Location")
				}
				f.want(f.do("PUT", begin()+"?digest="+d.String(), strings.NewReader(content)), 201, "")
				if size > 0 {
					at, half := begin(), size/2
					f.want(f.do("PATCH", at, strings.NewReader(content[:half]), "Content-Range", fmt.Sprintf("0-%d", half-1)), 202, "")
					f.want(f.do("PUT", at+"?digest="+d.String(), strings.NewReader(content[half:])), 201, "")
				}
				at := begin()
				f.want(f.do("PATCH", at, unknownLength(content)), 202, "")
				f.want(f.do("PUT", at+"?digest="+end.FromString(content+"x").String(), nil), 400, "DIGEST_INVALID")
				if got := f.want(f.do("GET", "/v2/dev/app/blobs/"+d.String(), nil), 200, ""); string(got.body) != content {
					t.Errorf("%d bytes, %q, %s: got %d bytes", size, query, end, len(got.body))
				}
			}
		}
	}
	for _, unknown := range []string{"", "md5", "sha384", "SHA512", "sha512%00", "blake3"} {
		f.want(f.do("POST", "/v2/dev/app/blobs/uploads/?digest-algorithm="+unknown, nil), 400, "DIGEST_INVALID")
	}
}

// TestChunkMinLength announces the least part of S3 and takes shorter chunks all the same.
func TestChunkMinLength(t *testing.T) {
	f := newFixture(t, nil)
	got := f.want(f.do("POST", "/v2/dev/app/blobs/uploads/", nil), 202, "")
	if said := got.header.Get("OCI-Chunk-Min-Length"); said != "5242880" {
		t.Errorf("got OCI-Chunk-Min-Length %q", said)
	}
	content := random(7<<20 + 3)
	at, from := got.header.Get("Location"), 0
	for _, size := range []int{1, 1 << 20, 3 << 20, 2, 3 << 20} {
		at = f.want(f.do("PATCH", at, strings.NewReader(content[from:from+size]), "Content-Range", fmt.Sprintf("%d-%d", from, from+size-1)), 202, "").header.Get("Location")
		from += size
	}
	f.want(f.do("PUT", at+"?digest="+digest.FromString(content).String(), nil), 201, "")
	f.wantBlob("dev/app", content)
}
