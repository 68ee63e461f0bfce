package conformance_test

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

// way is one of the styles in which clients upload a blob.
type way struct {
	name string
	// push returns the last answer: 201 if all went well.
	push func(tb testing.TB, c client, repo, content string, d digest.Digest) answer
}

// uploadWays are all that the spec describes ("Pushing blobs"), of known and of unknown
// length.
func uploadWays() []way {
	return []way{
		{"single-post", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			return c.do(tb, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), content, "Content-Type", typeOctet)
		}},
		{"single-post-of-unknown-length", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			return c.doChunked(tb, "POST", "/v2/"+repo+"/blobs/uploads/?digest="+d.String(), content)
		}},
		{"post-put", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			return c.do(tb, "PUT", withQuery(c.begin(tb, repo), "digest="+d.String()), content, "Content-Type", typeOctet)
		}},
		{"post-put-of-unknown-length", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			return c.doChunked(tb, "PUT", withQuery(c.begin(tb, repo), "digest="+d.String()), content)
		}},
		{"streamed-patch", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			at := location(tb, c.is(tb, 202, c.doChunked(tb, "PATCH", c.begin(tb, repo), content)))
			return c.do(tb, "PUT", withQuery(at, "digest="+d.String()), "")
		}},
		{"patch", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			at := location(tb, c.is(tb, 202, c.do(tb, "PATCH", c.begin(tb, repo), content)))
			return c.do(tb, "PUT", withQuery(at, "digest="+d.String()), "")
		}},
		{"chunks", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			at := chunks(tb, c, c.begin(tb, repo), content, 0, len(content))
			return c.do(tb, "PUT", withQuery(at, "digest="+d.String()), "")
		}},
		{"last-chunk-in-put", func(tb testing.TB, c client, repo, content string, d digest.Digest) answer {
			from := 2 * (len(content) / 3)
			at := chunks(tb, c, c.begin(tb, repo), content, 0, from)
			headers := []string{"Content-Type", typeOctet}
			if from < len(content) {
				headers = append(headers, "Content-Range", fmt.Sprintf("%d-%d", from, len(content)-1))
			}
			return c.do(tb, "PUT", withQuery(at, "digest="+d.String()), content[from:], headers...)
		}},
	}
}

// chunks sends content[from:to] in thirds of content, each with its range, and returns
// where the upload goes on.
func chunks(tb testing.TB, c client, at, content string, from, to int) string {
	tb.Helper()
	size := max(1, len(content)/3)
	for ; from < to; from += size {
		end := min(from+size, to)
		got := c.is(tb, 202, c.do(tb, "PATCH", at, content[from:end],
			"Content-Type", typeOctet, "Content-Range", fmt.Sprintf("%d-%d", from, end-1)))
		if want := fmt.Sprintf("0-%d", end-1); got.header.Get("Range") != want {
			tb.Fatalf("got Range %q, want %q", got.header.Get("Range"), want)
		}
		at = location(tb, got)
	}
	return at
}
