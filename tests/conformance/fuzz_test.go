package conformance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ask sends a request on a connection that the next one uses again.
func (c client) ask(tb testing.TB, method, path string, query url.Values, header http.Header) answer {
	tb.Helper()
	u := url.URL{Scheme: "http", Host: c.addr, Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(tb.Context(), method, u.String(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	request.Header = header
	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, body, err}
}

// rangeAnswer is what RFC 9110 owes a Range header.
type rangeAnswer struct {
	part         []byte // of 206
	contentRange string
	refused      bool // 416 is right
	ignored      bool // 200 is right
}

// naiveRange reads the header with numbers of any length and cuts content by them.
func naiveRange(said string, content []byte) rangeAnswer {
	unit, spec, ok := strings.Cut(said, "=")
	if !ok || !strings.EqualFold(unit, "bytes") || strings.Contains(spec, ",") {
		return rangeAnswer{ignored: true}
	}
	invalid := rangeAnswer{refused: true, ignored: true}
	first, last, ok := strings.Cut(spec, "-")
	if !ok || strings.Trim(first+last, "0123456789") != "" || first+last == "" {
		return invalid
	}
	for _, r := range first + last {
		if r < '0' || r > '9' {
			return invalid
		}
	}
	size := big.NewInt(int64(len(content)))
	number := func(digits string) *big.Int { n, _ := new(big.Int).SetString("0"+digits, 10); return n }
	from, to := number(first), number(last)
	switch {
	case first == "":
		from, to = new(big.Int).Sub(size, to), size
		if from.Sign() < 0 {
			from = new(big.Int)
		}
	case last == "":
		to = size
	case to.Cmp(from) < 0:
		return invalid
	default:
		to.Add(to, big.NewInt(1))
	}
	if to.Cmp(size) > 0 {
		to = size
	}
	if from.Cmp(size) >= 0 {
		return rangeAnswer{refused: true, contentRange: fmt.Sprintf("bytes */%d", len(content))}
	}
	part := content[from.Int64():to.Int64()]
	return rangeAnswer{part: part, contentRange: fmt.Sprintf("bytes %d-%d/%d", from, new(big.Int).Sub(to, big.NewInt(1)), len(content))}
}

// FuzzBlobRange: the answer to a Range is that of RFC 9110, by a second implementation.
func FuzzBlobRange(f *testing.F) {
	for _, said := range []string{
		"bytes=0-0", "bytes=500-1499", "bytes=500-", "bytes=-500", "bytes=2000-5000", "bytes=500-0", "bytes=5000-10000", "bytes=-0", "bytes=0-", "bytes=-", "bytes=", "bytes", "bytes=0-1,5-6", "bytes=0-0,", "chapters=1-2", "Bytes=1-2",
		"bytes= 1-2", "bytes=1 -2", "bytes=+1-2", "bytes=0x1-2", "bytes=--5", "bytes=1--2", "bytes=99999999999999999999-", "bytes=0-99999999999999999999", "bytes=-99999999999999999999", "bytes=00000000000000000000001-2", "bytes=2047-2047", "bytes=2048-", "bytes =0-1", "bytes=0-1=2",
	} {
		f.Add(said)
	}
	c := client{registry: newRegistry(f, nil)}
	content := []byte(strings.Repeat("0123456789abcdef", 128))
	d := c.blob(f, "dev/ranges", string(content))
	f.Fuzz(func(t *testing.T, said string) {
		said = strings.Trim(said, " \t")                                                                              // as every recipient does
		if said == "" || strings.ContainsFunc(said, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) { // no header can say it
			return
		}
		want := naiveRange(said, content)
		path := "/v2/dev/ranges/blobs/" + d.String()
		got := c.ask(t, "GET", path, nil, http.Header{"Range": {said}})
		header := got.header.Get("Content-Range")
		switch {
		case got.err != nil:
			t.Fatal(got.err)
		case got.status == 206 && want.part != nil && bytes.Equal(got.body, want.part) && header == want.contentRange && got.header.Get("Content-Length") == fmt.Sprint(len(want.part)):
		case got.status == 200 && want.ignored && bytes.Equal(got.body, content) && header == "":
		case got.status == 416 && want.refused && got.code() == "RANGE_INVALID" && (want.contentRange == "" || header == want.contentRange):
		default:
			t.Fatalf("Range %q: got %d, %d bytes, Content-Range %q; want %+v", said, got.status, len(got.body), header, want)
		}
		if head := c.ask(t, "HEAD", path, nil, http.Header{"Range": {said}}); head.status != 200 || head.header.Get("Content-Length") != fmt.Sprint(len(content)) {
			t.Fatalf("HEAD with Range %q: got %d %v", said, head.status, head.header)
		}
	})
}

// FuzzReferrersQuery: whatever n, last and artifactType are, the answer is 400 or the very
// page that a scan of everything would have made.
func FuzzReferrersQuery(f *testing.F) {
	c := client{registry: newRegistry(f, nil)}
	const repo = "dev/referrers"
	c.blob(f, repo, "{}")
	c.blob(f, repo, "layer")
	var all []ocispec.Descriptor
	for i := range 12 {
		artifactType := []string{"a/b", "application/vnd.test", "A/B"}[i%3]
		body := image("layer", fmt.Sprintf(`,"artifactType":%q,"annotations":{"n":"%d"},"subject":%s`, artifactType, i, sized(typeImage, zeros, "5")))
		c.manifest(f, repo, digest.FromString(body).String(), typeImage, body)
		all = append(all, ocispec.Descriptor{Digest: digest.FromString(body), ArtifactType: artifactType})
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	f.Add("3", all[4].Digest.String(), "a/b")
	for _, seed := range [][3]string{{"", "", ""}, {"0", "", "a/b"}, {"-1", "", ""}, {"1e9", "", ""}, {"1000000000", "", "A/B"}, {"1", zeros, "application/vnd.test"}, {"12", "", ""}, {"11", "", ""}, {"4", "", "a/b"}, {"5", "\x00", "a/b\x00"}, {"99999999999999999999", "\xff", "none"}, {"2", "sha256:", "a/b "}} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, n, last, artifactType string) {
		query := url.Values{}
		for name, value := range map[string]string{"n": n, "last": last, "artifactType": artifactType} {
			if value != "" {
				query.Set(name, value)
			}
		}
		if len(query.Encode()) > 16<<10 { // longer than a request line may be
			return
		}
		got := c.ask(t, "GET", "/v2/"+repo+"/referrers/"+zeros, query, nil)
		if got.status == 400 && got.code() == "REQUEST_INVALID" && n != "" && !isNumber(n) {
			return
		}
		var index ocispec.Index
		if err := errors.Join(got.err, json.Unmarshal(got.body, &index)); got.status != 200 || err != nil || n != "" && !isNumber(n) {
			t.Fatalf("n=%q last=%q artifactType=%q: got %d %s, %v", n, last, artifactType, got.status, got.body, err)
		}
		var want []digest.Digest
		for _, d := range all {
			if d.Digest.String() > last && (artifactType == "" || d.ArtifactType == artifactType) {
				want = append(want, d.Digest)
			}
		}
		page, more, maybe := want, false, false
		if most, ok := new(big.Int).SetString(n, 10); ok && most.Cmp(big.NewInt(int64(len(want)))) <= 0 && most.Sign() >= 0 {
			page = want[:most.Int64()]
			more = len(page) > 0 && len(page) < len(want)
			// A full page may lead on to what is of other types, and so to an empty one.
			maybe = len(page) > 0 && page[len(page)-1] != all[len(all)-1].Digest
		}
		link := got.header.Get("Link") != ""
		same := slices.EqualFunc(index.Manifests, page, func(a ocispec.Descriptor, b digest.Digest) bool { return a.Digest == b })
		if !same || more && !link || link && !maybe || (got.header.Get("OCI-Filters-Applied") != "") != (artifactType != "") {
			t.Fatalf("n=%q last=%q artifactType=%q: got %s %v, want %v", n, last, artifactType, got.body, got.header, page)
		}
	})
}

// isNumber says whether s is all digits.
func isNumber(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}
