package conformance_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// life is that of one artifact in one repository.
type life struct {
	*testing.T
	client
	*kind
	repo string
}

func (l *life) at(parts ...string) string {
	path := "/v2/" + l.repo
	for _, part := range parts {
		path += "/" + part
	}
	return path
}

func (l *life) tagNames() []string { return slices.Sorted(maps.Keys(l.tags)) }

func (l *life) manifestOf(d digest.Digest) pushed {
	return l.manifests[slices.IndexFunc(l.manifests, func(p pushed) bool { return p.Digest == d })]
}

// push sends blobs, each in another way, then manifests by digest and by tag.
func (l *life) push() {
	l.Helper()
	ways := uploadWays()
	for i, content := range l.blobs {
		d := l.algorithm.FromString(content)
		l.want(l, exchange{method: "HEAD", target: l.at("blobs", d.String()), status: 404})
		got := l.is(l, 201, ways[i%len(ways)].push(l, l.client, l.repo, content, d))
		l.is(l, 200, l.do(l, "HEAD", location(l, got), ""))
	}
	for _, p := range l.manifests {
		l.want(l, exchange{method: "HEAD", target: l.at("manifests", p.Digest.String()), status: 404})
		l.put(p, p.Digest.String())
	}
	for _, tag := range l.tagNames() {
		l.want(l, exchange{method: "HEAD", target: l.at("manifests", tag), status: 404})
		// A tag says nothing of the algorithm: without the parameter it is SHA-256.
		l.put(l.manifestOf(l.tags[tag]), tag+"?digest="+l.tags[tag].String())
	}
}

func (l *life) put(p pushed, reference string) {
	l.Helper()
	got := l.is(l, 201, l.do(l, "PUT", l.at("manifests", reference), p.body, "Content-Type", p.MediaType))
	if d := got.header.Get("Docker-Content-Digest"); d != p.Digest.String() {
		l.Errorf("%s: got digest %s", reference, d)
	}
	if subject := got.header.Get("OCI-Subject"); subject != p.subject.String() {
		l.Errorf("%s: got OCI-Subject %q, want %q", reference, subject, p.subject)
	}
	l.is(l, 200, l.do(l, "HEAD", location(l, got), ""))
}

// pull reads everything back, by HEAD and GET, by tag and digest.
func (l *life) pull() {
	l.Helper()
	for _, content := range l.blobs {
		l.same("blobs", l.algorithm.FromString(content).String(), content, pushed{Descriptor: l.absent(typeOctet, content)})
	}
	for _, p := range l.manifests {
		l.same("manifests", p.Digest.String(), p.body, p)
	}
	for tag, d := range l.tags {
		l.same("manifests", tag, l.manifestOf(d).body, l.manifestOf(d))
	}
}

func (l *life) same(endpoint, reference, body string, p pushed) {
	l.Helper()
	for _, method := range []string{"HEAD", "GET"} {
		got := l.is(l, 200, l.do(l, method, l.at(endpoint, reference), "", "Accept", typeImage+", "+typeIndex))
		for header, want := range map[string]string{"Content-Type": p.MediaType, "Content-Length": strconv.Itoa(len(body)), "Docker-Content-Digest": p.Digest.String()} {
			if got.header.Get(header) != want {
				l.Errorf("%s %s: got %s %q, want %q", method, reference, header, got.header.Get(header), want)
			}
		}
		if method == "GET" && string(got.body) != body {
			l.Errorf("GET %s: got %d other bytes", reference, len(got.body))
		}
	}
}

// discover lists tags and referrers.
func (l *life) discover() {
	l.Helper()
	all := l.tagNames()
	l.wantTags("", all)
	for i, tag := range all {
		l.wantTags("?last="+url.QueryEscape(tag), all[i+1:])
		l.wantTags("?n=1&last="+url.QueryEscape(tag), all[i+1:min(i+2, len(all))])
	}
	l.wantTags("?n=0", nil)
	for _, p := range l.manifests {
		l.wantReferrers(p.Digest)
		if p.subject != "" {
			l.wantReferrers(p.subject)
		}
	}
}

func (l *life) wantTags(query string, want []string) {
	l.Helper()
	got := l.is(l, 200, l.do(l, "GET", l.at("tags", "list")+query, ""))
	var list struct {
		Name string
		Tags []string
	}
	if err := json.Unmarshal(got.body, &list); err != nil || list.Name != l.repo || !slices.Equal(list.Tags, want) {
		l.Errorf("%q: got %s, want %v", query, got.body, want)
	}
}

// wantReferrers compares every field of every descriptor, of all and of each type.
func (l *life) wantReferrers(subject digest.Digest) {
	l.Helper()
	all := []ocispec.Descriptor{}
	types := map[string]bool{"application/vnd.test.no-such-type": true}
	for _, p := range l.manifests {
		if p.subject == subject {
			all = append(all, p.Descriptor)
			if p.ArtifactType != "" {
				types[p.ArtifactType] = true
			}
		}
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	l.compareReferrers(subject, "", all)
	for artifactType := range types {
		some := slices.DeleteFunc(slices.Clone(all), func(d ocispec.Descriptor) bool { return d.ArtifactType != artifactType })
		l.compareReferrers(subject, artifactType, some)
	}
}

func (l *life) compareReferrers(subject digest.Digest, artifactType string, want []ocispec.Descriptor) {
	l.Helper()
	target, applied := l.at("referrers", subject.String()), ""
	if artifactType != "" {
		target, applied = target+"?artifactType="+url.QueryEscape(artifactType), "artifactType"
	}
	got := l.is(l, 200, l.do(l, "GET", target, ""))
	var index ocispec.Index
	if err := json.Unmarshal(got.body, &index); err != nil {
		l.Fatalf("%v: %s", err, got.body)
	}
	if index.SchemaVersion != 2 || index.MediaType != typeIndex || got.header.Get("Content-Type") != typeIndex || index.Manifests == nil {
		l.Errorf("got %v %s", got.header, got.body)
	}
	if got.header.Get("OCI-Filters-Applied") != applied {
		l.Errorf("got OCI-Filters-Applied %q, want %q", got.header.Get("OCI-Filters-Applied"), applied)
	}
	slices.SortFunc(index.Manifests, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	if !slices.EqualFunc(index.Manifests, want, func(a, b ocispec.Descriptor) bool { return reflect.DeepEqual(a, b) }) {
		l.Errorf("referrers of %s of type %q: got %s, want %v", subject, artifactType, got.body, want)
	}
}

// remove deletes everything; each is gone at once, and nothing goes with it.
func (l *life) remove() {
	l.Helper()
	for _, tag := range l.tagNames() {
		l.gone("manifests", tag, "MANIFEST_UNKNOWN")
		l.is(l, 200, l.do(l, "HEAD", l.at("manifests", l.tags[tag].String()), ""))
		delete(l.tags, tag)
		l.wantTags("", l.tagNames())
	}
	for i := len(l.manifests) - 1; i >= 0; i-- {
		p := l.manifests[i]
		l.gone("manifests", p.Digest.String(), "MANIFEST_UNKNOWN")
		l.manifests = l.manifests[:i]
		if p.subject != "" {
			l.wantReferrers(p.subject)
		}
	}
	for _, content := range l.blobs {
		l.gone("blobs", l.algorithm.FromString(content).String(), "BLOB_UNKNOWN")
	}
}

func (l *life) gone(endpoint, reference, code string) {
	l.Helper()
	target := l.at(endpoint, reference)
	l.is(l, 202, l.do(l, "DELETE", target, ""))
	for _, method := range []string{"HEAD", "GET", "DELETE"} {
		l.want(l, exchange{name: fmt.Sprint(method, reference), method: method, target: target, status: 404, code: code})
	}
}
