package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestManifest(t *testing.T) {
	f := newFixture(t, nil)
	d := f.pushImage("dev/acme/app", "1.0", "layer", "")
	body := image("layer", "")
	for _, reference := range []string{"1.0", d.String()} {
		got := f.want(f.do("GET", "/v2/dev/acme/app/manifests/"+reference, nil, "Accept", "application/json"), 200, "")
		if string(got.body) != body || got.header.Get("Content-Type") != typeImage || got.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s: got %s %v", reference, got.body, got.header)
		}
		head := f.want(f.do("HEAD", "/v2/dev/acme/app/manifests/"+reference, nil), 200, "")
		if head.header.Get("Content-Length") != fmt.Sprint(len(body)) || head.header.Get("Content-Type") != typeImage || head.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s: HEAD got %v", reference, head.header)
		}
		f.want(f.do("GET", "/v2/dev/acme/app/manifests/"+reference, nil, "If-None-Match", head.header.Get("ETag")), 304, "")
	}
	got := f.want(f.do("PUT", "/v2/dev/acme/app/manifests/2.0?digest="+d.String(), strings.NewReader(body), "Content-Type", typeImage), 201, "")
	if got.header.Get("Location") != "/v2/dev/acme/app/manifests/"+d.String() || got.header.Get("Docker-Content-Digest") != d.String() || got.header.Get("OCI-Subject") != "" {
		t.Errorf("got %v", got.header)
	}
	sum := digest.SHA512.FromString(body)
	f.want(f.do("PUT", "/v2/dev/acme/app/manifests/"+sum.String(), strings.NewReader(body), "Content-Type", typeImage), 201, "")
	f.want(f.do("GET", "/v2/dev/acme/app/manifests/"+sum.String(), nil), 200, "")

	f.want(f.do("DELETE", "/v2/dev/acme/app/manifests/1.0", nil), 202, "")
	f.want(f.do("GET", "/v2/dev/acme/app/manifests/1.0", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("DELETE", "/v2/dev/acme/app/manifests/1.0", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("GET", "/v2/dev/acme/app/manifests/2.0", nil), 200, "")
	f.want(f.do("DELETE", "/v2/dev/acme/app/manifests/"+d.String(), nil), 202, "")
	f.want(f.do("GET", "/v2/dev/acme/app/manifests/2.0", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("DELETE", "/v2/dev/acme/app/manifests/"+d.String(), nil), 404, "MANIFEST_UNKNOWN")
}

func TestManifestRefusals(t *testing.T) {
	f := newFixture(t, nil)
	d := f.pushImage("dev/app", "1", "layer", "")
	good := image("layer", "")
	put := func(name, body string, status int, code string, headers ...string) exchange {
		if headers == nil {
			headers = []string{"Content-Type", typeImage}
		}
		return exchange{name, "PUT", "/v2/dev/app/manifests/bad", body, headers, status, code, ""}
	}
	child := func(d string, size int) string {
		return fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":%d}`, typeImage, d, size)
	}
	index := func(children string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}`, typeIndex, children)
	}
	asIndex := []string{"Content-Type", typeIndex}
	f.exchanges(t, []exchange{
		put("empty", "", 400, "MANIFEST_INVALID"),
		put("no JSON", "not json", 400, "MANIFEST_INVALID"),
		put("duplicate key", strings.Replace(good, "{", `{"schemaVersion":2,`, 1), 400, "MANIFEST_INVALID"),
		put("duplicate key deep", strings.Replace(good, `"size":2`, `"size":2,"size":2`, 1), 400, "MANIFEST_INVALID"),
		put("case variant", strings.Replace(good, "{", `{"Layers":[],`, 1), 400, "MANIFEST_INVALID"),
		put("trailing data", good+"{}", 400, "MANIFEST_INVALID"),
		put("trailing bracket", good+"]", 400, "MANIFEST_INVALID"),
		put("depth bomb", strings.Replace(good, "{", `{"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+`,`, 1), 400, "MANIFEST_INVALID"),
		put("unclosed depth bomb", strings.Repeat(`{"a":`, 10_000), 400, "MANIFEST_INVALID"),
		put("invalid UTF-8", strings.Replace(good, "{", "{\"x\":\"\xff\",", 1), 400, "MANIFEST_INVALID"),
		put("image and index", strings.Replace(good, "{", `{"manifests":[],`, 1), 400, "MANIFEST_INVALID"),
		put("index and image", strings.Replace(index(""), "{", `{"layers":[],`, 1), 400, "MANIFEST_INVALID", asIndex...),
		put("other content type", good, 400, "MANIFEST_INVALID", asIndex...),
		put("content type of no manifest", strings.Replace(good, typeImage, "text/html", 1), 400, "MANIFEST_INVALID", "Content-Type", "text/html"),
		put("malformed content type", good, 400, "MANIFEST_INVALID", "Content-Type", ";;"),
		put("negative size", strings.Replace(good, `"size":2`, `"size":-2`, 1), 400, "MANIFEST_INVALID"),
		put("wrong size", strings.Replace(good, `"size":2`, `"size":3`, 1), 400, "MANIFEST_INVALID"),
		put("size no integer", strings.Replace(good, `"size":2`, `"size":2.5`, 1), 400, "MANIFEST_INVALID"),
		put("malformed digest inside", strings.Replace(good, "sha256:", "sha256:A", 1), 400, "MANIFEST_INVALID"),
		put("too wide", index(strings.TrimSuffix(strings.Repeat(child(d.String(), len(good))+",", 1001), ",")), 400, "MANIFEST_INVALID", asIndex...),
		put("missing blob", image("not there", ""), 404, "MANIFEST_BLOB_UNKNOWN"),
		put("missing child", index(child(zeros, 5)), 404, "MANIFEST_BLOB_UNKNOWN", asIndex...),
		put("child of another size", index(child(d.String(), 5)), 400, "MANIFEST_INVALID", asIndex...),
		put("too large", strings.Repeat(" ", 4<<20+1), 413, "SIZE_INVALID"),
	})
	f.want(f.do("PUT", "/v2/dev/app/manifests/"+zeros, strings.NewReader(good), "Content-Type", typeImage), 400, "DIGEST_INVALID")
	f.want(f.do("PUT", "/v2/dev/app/manifests/bad?digest="+zeros, strings.NewReader(good), "Content-Type", typeImage), 400, "DIGEST_INVALID")
	f.want(f.do("PUT", "/v2/dev/app/manifests/bad?digest=x", strings.NewReader(good), "Content-Type", typeImage), 400, "DIGEST_INVALID")
	f.want(f.do("PUT", "/v2/dev/app/manifests/"+d.String()+"?digest="+zeros, strings.NewReader(good), "Content-Type", typeImage), 400, "DIGEST_INVALID")
	f.want(f.do("GET", "/v2/dev/app/manifests/bad", nil), 404, "MANIFEST_UNKNOWN")
}

// endless sends blanks until it is stopped.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	if e.sent.Add(int64(len(p))) > 1<<30 {
		return 0, io.ErrUnexpectedEOF
	}
	return len(p), nil
}

func TestEndlessManifest(t *testing.T) {
	f := newFixture(t, nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body := &endless{}
	r, err := http.NewRequestWithContext(t.Context(), "PUT", f.url+"/v2/dev/app/manifests/1", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", typeImage)
	if resp, err := http.DefaultClient.Do(r); err == nil { // or the connection was closed while we sent
		resp.Body.Close()
		if resp.StatusCode != 413 {
			t.Errorf("got %s, want 413", resp.Status)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d MiB were allocated", used>>20)
	}
	if sent := body.sent.Load(); sent > 64<<20 {
		t.Errorf("%d MiB were taken", sent>>20)
	}
}

func TestDeepIndex(t *testing.T) {
	f := newFixture(t, nil)
	d := f.pushImage("dev/app", "1", "layer", "")
	size, mediaType := len(image("layer", "")), typeImage
	for depth := 1; depth <= 9; depth++ {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d}]}`, typeIndex, mediaType, d, size)
		got := f.do("PUT", fmt.Sprintf("/v2/dev/app/manifests/depth%d", depth), strings.NewReader(body), "Content-Type", typeIndex)
		if depth == 9 {
			f.want(got, 400, "MANIFEST_INVALID")
			break
		}
		f.want(got, 201, "")
		d, size, mediaType = digest.FromString(body), len(body), typeIndex
	}
	// A child goes only with its index.
	f.want(f.do("DELETE", "/v2/dev/app/manifests/"+digest.FromString(image("layer", "")).String(), nil), 405, "UNSUPPORTED")
}

func TestOddButGoodManifests(t *testing.T) {
	f := newFixture(t, nil)
	f.push("dev/app", "{}")
	layer := fmt.Sprintf(`{"mediaType":"a/b","digest":"%s","size":2}`, digest.FromString("{}"))
	foreign := `{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"` + zeros + `","size":99,"urls":["http://127.0.0.1:1/x"]}`
	empty := fmt.Sprintf(`{"mediaType":"a/b","digest":"%s","size":0}`, f.push("dev/app", ""))
	docker := "application/vnd.docker.distribution.manifest.v2+json"
	for name, m := range map[string][2]string{
		"repeated layer":  {typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s,%s,%s]}`, layer, layer, layer, layer)},
		"empty blob":      {typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, layer, empty)},
		"foreign layer":   {typeImage, fmt.Sprintf(`{"schemaVersion":2,"config":%s,"layers":[%s]}`, layer, foreign)},
		"docker schema 2": {docker, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}`, docker, layer, layer)},
		"empty index":     {typeIndex, `{"schemaVersion":2,"manifests":[]}`},
		"artifact manifest": {"application/vnd.oci.artifact.manifest.v1+json",
			`{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","artifactType":"a/b","blobs":[` + layer + `]}`},
	} {
		got := f.do("PUT", "/v2/dev/app/manifests/odd", strings.NewReader(m[1]), "Content-Type", m[0])
		if got.status != 201 {
			t.Errorf("%s: got %d %s", name, got.status, got.body)
			continue
		}
		if back := f.do("GET", "/v2/dev/app/manifests/odd", nil); string(back.body) != m[1] || back.header.Get("Content-Type") != m[0] {
			t.Errorf("%s: got %s of %s back", name, back.body, back.header.Get("Content-Type"))
		}
	}
}

func TestBlobOfManifestStays(t *testing.T) {
	f := newFixture(t, nil)
	d := f.pushImage("dev/app", "1", "layer", "")
	blob := "/v2/dev/app/blobs/" + digest.FromString("layer").String()
	if got := f.want(f.do("DELETE", blob, nil), 405, "UNSUPPORTED"); got.header.Get("Allow") == "" {
		t.Error("405 without Allow")
	}
	f.want(f.do("DELETE", "/v2/dev/app/manifests/"+d.String(), nil), 202, "")
	f.want(f.do("DELETE", blob, nil), 202, "")
}

// follow walks a list by its links and returns what pick finds on each page.
func (f *fixture) follow(path string, pick func([]byte) []string) (all []string, pages int) {
	f.Helper()
	for path != "" {
		got := f.want(f.do("GET", path, nil), 200, "")
		all, pages = append(all, pick(got.body)...), pages+1
		path = ""
		if link := got.header.Get("Link"); link != "" {
			path = strings.TrimPrefix(strings.TrimSuffix(link, `>; rel="next"`), "<")
		}
	}
	return all, pages
}

func pickTags(body []byte) []string {
	var list tagList
	if json.Unmarshal(body, &list) != nil || list.Tags == nil {
		return []string{"not a list: " + string(body)}
	}
	return list.Tags
}

func TestTags(t *testing.T) {
	f := newFixture(t, nil)
	f.want(f.do("GET", "/v2/dev/app/tags/list", nil), 404, "NAME_UNKNOWN")
	want := []string{"1", "10", "2", "Z", "_", "a"} // in byte order
	for _, tag := range want {
		f.pushImage("dev/app", tag, "layer", "")
	}
	f.pushImage("dev/app2", "other", "layer", "") // a neighbour in the order of keys
	const path = "/v2/dev/app/tags/list"
	for n, pages := range map[int]int{1: 6, 2: 3, 4: 2, 6: 1, 7: 1, 1_000_000_000: 1} {
		got, count := f.follow(fmt.Sprintf("%s?n=%d", path, n), pickTags)
		if !slices.Equal(got, want) || count != pages {
			t.Errorf("n=%d: got %v on %d pages, want %v on %d", n, got, count, want, pages)
		}
	}
	for query, tags := range map[string]string{
		"": `["1","10","2","Z","_","a"]`, "?n=0": `[]`, "?last=2": `["Z","_","a"]`, "?last=zzz": `[]`, "?last=/": `["1","10","2","Z","_","a"]`, "?last=10&n=1": `["2"]`,
		"?last=%00": `["1","10","2","Z","_","a"]`, "?last=%ff%ff": `[]`, "?last=" + strings.Repeat("x", 10_000): `[]`, "?n=99999999999999999999999": `["1","10","2","Z","_","a"]`,
	} {
		got := f.want(f.do("GET", path+query, nil), 200, "")
		if s := strings.TrimSpace(string(got.body)); s != `{"name":"dev/app","tags":`+tags+`}` {
			t.Errorf("%.40s: got %s", query, s)
		}
	}
	for _, n := range []string{"-1", "x", "", "1.5", "0x10", "%00"} {
		f.want(f.do("GET", path+"?n="+n, nil), 400, "REQUEST_INVALID")
		f.want(f.do("GET", "/v2/_catalog?n="+n, nil), 400, "REQUEST_INVALID")
		f.want(f.do("GET", "/v2/dev/app/referrers/"+zeros+"?n="+n, nil), 400, "REQUEST_INVALID")
	}
}

func TestCatalog(t *testing.T) {
	f := newFixture(t, nil)
	f.pushImage("dev/a", "1", "layer", "")
	f.pushImage("dev/b/c", "1", "layer", "")
	f.promoted("release", "a", "1", "layer")
	f.promoted("stable", "a", "1", "layer")
	want := []string{"dev/a", "dev/b/c", "release/a", "stable/a"}
	pick := func(body []byte) []string {
		var list catalogList
		if err := json.Unmarshal(body, &list); err != nil {
			t.Error(err)
		}
		return list.Repositories
	}
	for n, pages := range map[int]int{1: 4, 2: 2, 3: 2, 4: 1, 1_000_000: 1} {
		got, count := f.follow(fmt.Sprintf("/v2/_catalog?n=%d", n), pick)
		if !slices.Equal(got, want) || count != pages {
			t.Errorf("n=%d: got %v on %d pages, want %d", n, got, count, pages)
		}
	}
	for last, names := range map[string]int{"": 4, "dev/a": 3, "dev/b": 3, "dev": 4, "devil": 2, "release/": 2, "s": 1, "stable/a": 0, "zzz": 0, "%00": 4} {
		if got := pick(f.do("GET", "/v2/_catalog?last="+last, nil).body); len(got) != names {
			t.Errorf("last=%s: got %v, want %d", last, got, names)
		}
	}
	if got := f.do("GET", "/v2/_catalog?n=0", nil); strings.TrimSpace(string(got.body)) != `{"repositories":[]}` || got.header.Get("Link") != "" {
		t.Errorf("got %s", got.body)
	}
}

func TestReferrers(t *testing.T) {
	f := newFixture(t, nil)
	subject := f.pushImage("dev/app", "1", "layer", "")
	byType := map[string]int{}
	for i := range 7 {
		kind := []string{"a/sbom", "a/scan"}[i%2]
		byType[kind]++
		extra := fmt.Sprintf(`,"artifactType":"%s","annotations":{"number":"%d"}%s`, kind, i, about(subject))
		body := image("layer", extra)
		got := f.want(f.do("PUT", "/v2/dev/app/manifests/"+digest.FromString(body).String(), strings.NewReader(body), "Content-Type", typeImage), 201, "")
		if got.header.Get("OCI-Subject") != subject.String() {
			t.Errorf("got OCI-Subject %q", got.header.Get("OCI-Subject"))
		}
	}
	pick := func(body []byte) (digests []string) {
		var index ocispec.Index
		if err := json.Unmarshal(body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != typeIndex || index.Manifests == nil {
			t.Errorf("got %s, %v", body, err)
		}
		for _, m := range index.Manifests {
			if m.ArtifactType == "" || m.Annotations["number"] == "" || m.MediaType != typeImage || m.Size == 0 {
				t.Errorf("got %+v", m)
			}
			digests = append(digests, m.Digest.String())
		}
		return digests
	}
	path := "/v2/dev/app/referrers/" + subject.String()
	for _, n := range []int{1, 2, 3, 7, 1000} {
		if got, pages := f.follow(fmt.Sprintf("%s?n=%d", path, n), pick); len(got) != 7 || !slices.IsSorted(got) || pages != (6+n)/n {
			t.Errorf("n=%d: got %v on %d pages", n, got, pages)
		}
		for kind, count := range byType {
			if got, pages := f.follow(fmt.Sprintf("%s?n=%d&artifactType=%s", path, n, kind), pick); len(got) != count || pages > (count+n-1)/n+1 {
				t.Errorf("n=%d, %s: got %d on %d pages, want %d", n, kind, len(got), pages, count)
			}
		}
	}
	got := f.want(f.do("GET", path+"?artifactType=a/sbom", nil), 200, "")
	if got.header.Get("OCI-Filters-Applied") != "artifactType" || got.header.Get("Content-Type") != typeIndex {
		t.Errorf("got %v", got.header)
	}
	for _, p := range []string{path + "?artifactType=none/such", "/v2/dev/app/referrers/" + zeros, "/v2/dev/never/referrers/" + zeros, path + "?n=0"} {
		if got := f.want(f.do("GET", p, nil), 200, ""); len(pick(got.body)) != 0 {
			t.Errorf("%s: got %s", p, got.body)
		}
	}
	// A subject that is not here.
	missing := image("layer", `,"artifactType":"a/b","annotations":{"number":"x"},"subject":{"mediaType":"`+typeImage+`","digest":"`+zeros+`","size":7}`)
	if got := f.want(f.do("PUT", "/v2/dev/app/manifests/orphan", strings.NewReader(missing), "Content-Type", typeImage), 201, ""); got.header.Get("OCI-Subject") != zeros {
		t.Errorf("got %v", got.header)
	}
	if got := f.do("GET", "/v2/dev/app/referrers/"+zeros, nil); len(pick(got.body)) != 1 {
		t.Errorf("got %s", got.body)
	}
}
