package server

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers/pulls"
)

// pulled is what the API says, as principal tier/repository@what:tag client count.
func (a *apiFixture) pulled(query string, names map[digest.Digest]string) (all []string) {
	a.Helper()
	path := "/api/v1/pulls?n=2" + query
	for next := ""; ; {
		page := get[struct {
			Pulls []pulls.Pull
			Next  string
		}](a, path+next)
		for _, p := range page.Pulls {
			all = append(all, fmt.Sprintf("%s %s/%s@%s:%s %s %d", p.Principal, p.Tier, p.Repository, names[p.Digest], p.Tag, p.Client, p.Count))
		}
		if page.Next == "" {
			slices.Sort(all)
			return all
		}
		next = "&last=" + page.Next
	}
}

// A pull is a GET of a manifest above dev that was answered with it. Who asks for a digest is
// told who pulled what holds it.
func TestPulls(t *testing.T) {
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"root"}, Actions: []Action{ActionAdmin, ActionPull, ActionPush}},
		Grant{Users: []string{"half"}, Tiers: []string{"release"}, Actions: []Action{ActionAdmin}},
		Grant{Users: []string{Anonymous, "node"}, Tiers: []string{"release"}, Actions: []Action{ActionPull}}))
	image := a.promoted("release", "acme/app", "1.0", "layer")
	alone := a.promoted("release", "acme/web", "2.0", "other")
	repo, err := a.filled.Repository("release", "acme/app", "promotion")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := repo.Resolve(t.Context(), image.String())
	if err != nil {
		t.Fatal(err)
	}
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d}]}`, typeIndex, typeImage, image, desc.Size)
	pushed, err := repo.PutManifest(t.Context(), "latest", "", typeIndex, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	names := map[digest.Digest]string{image: "image", alone: "alone", pushed.Digest: "index"}

	before := time.Now().Add(-time.Second).UTC().Format(time.RFC3339)
	a.user = "root:root"
	a.pushImage("dev/acme/app", "1.0", "layer", "")
	ask := func(user, method, path string, status int, headers ...string) {
		t.Helper()
		a.user = user
		if got := a.do(method, "/v2/"+path, nil, append([]string{"User-Agent", "containerd/v2.1 x"}, headers...)...); got.status != status {
			t.Fatalf("%s %s: %d", method, path, got.status)
		}
	}
	const app, web = "release/acme/app/manifests/", "release/acme/web/manifests/"
	ask("node:node", "GET", app+"latest", 200)
	ask("node:node", "GET", app+"1.0", 200)
	ask("node:node", "GET", app+image.String(), 200)
	ask("node:node", "HEAD", app+"latest", 200)
	ask("node:node", "GET", app+"none", 404)
	ask("node:node", "GET", app+"latest", 304, "If-None-Match", `"`+pushed.Digest.String()+`"`)
	ask("node:wrong", "GET", app+"latest", 401)
	ask("node:node", "GET", "dev/acme/app/manifests/1.0", 403)
	ask("root:root", "GET", "dev/acme/app/manifests/1.0", 200)
	ask("", "GET", web+"2.0", 206, "Range", "bytes=0-", "User-Agent", "bad\tagent")
	ask("", "GET", web+"2.0", 416, "Range", "bytes=999999-")
	if err := a.server.config.Pulls.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}

	a.user = "root:root"
	nodeIndex, nodeImage, nobody := "node release/acme/app@index:latest containerd/v2.1 1", "node release/acme/app@image: containerd/v2.1 2", "anonymous release/acme/web@alone:2.0  1"
	for query, want := range map[string][]string{
		"":                                  {nobody, nodeImage, nodeIndex},
		"&digest=" + pushed.Digest.String(): {nodeIndex},
		"&digest=" + image.String():         {nodeImage, nodeIndex},
		"&digest=" + digest.FromString("layer").String(): {nodeImage, nodeIndex},
		"&digest=" + digest.FromString("{}").String():    {nobody, nodeImage, nodeIndex},
		"&digest=" + digest.FromString("none").String():  nil,
		"&repository=acme/web":                           {nobody},
		"&principal=node&tier=release":                   {nodeImage, nodeIndex},
		"&tier=stable":                                   nil,
		"&since=" + before:                               {nobody, nodeImage, nodeIndex},
		"&since=2100-01-01T00:00:00Z":                    nil,
		"&principal=root":                                nil,
	} {
		if got := a.pulled(query, names); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	for query, status := range map[string]int{"digest=x": 400, "tier=none": 404, "repository=A": 400, "since=yesterday": 400, "from=1": 400, "n=0": 400, "tier=dev&tier=stable": 400} {
		if got := a.call("GET", "/api/v1/pulls?"+query, ""); got.status != status {
			t.Errorf("%s: %d %s", query, got.status, got.body)
		}
	}
	metrics := string(a.want(a.call("GET", "/metrics", ""), 200, "").body)
	for _, line := range []string{"sluice_pulls_recorded_total 4", "sluice_pulls_dropped_total 0", "sluice_pulls_written_objects_total 1", "sluice_pulls_last_failure_timestamp_seconds 0"} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("%q is not in:\n%s", line, metrics)
		}
	}
	a.want(a.call("POST", "/api/v1/pulls", ""), 405, "UNSUPPORTED")
	for user, status := range map[string]int{"half:half": 403, "node:node": 403, "": 401} {
		a.user = user
		if got := a.call("GET", "/api/v1/pulls", ""); got.status != status {
			t.Errorf("%q: %d %s", user, got.status, got.body)
		}
	}
}

func TestProduct(t *testing.T) {
	for agent, want := range map[string]string{
		"": "", "docker/29.1 go/go1.26 (linux)": "docker/29.1", "containerd/v2": "containerd/v2", "a\x1b[31m b": "", "ünknown": "",
		strings.Repeat("x", 100): strings.Repeat("x", maxClient),
	} {
		if got := product(agent); got != want {
			t.Errorf("%q is %q", agent, got)
		}
	}
}

// BenchmarkPull gets a manifest by its digest and by its tag, with pulls recorded and without,
// in turns.
func BenchmarkPull(b *testing.B) {
	prefix := fmt.Sprintf("test%d/", shared.number.Add(1))
	filled, registry := registryOver(b, prefix, true), registryOver(b, prefix, false)
	repo, err := filled.Repository("release", "acme/app", "promotion")
	if err != nil {
		b.Fatal(err)
	}
	pushed, err := repo.PutManifest(b.Context(), "1.0", "", typeIndex, []byte(`{"schemaVersion":2,"mediaType":"`+typeIndex+`","manifests":[]}`))
	if err != nil {
		b.Fatal(err)
	}
	handlers := map[bool]http.Handler{}
	for _, on := range []bool{false, true} {
		config := Config{Registry: registry, Log: slog.New(slog.DiscardHandler)}
		if on {
			if config.Pulls, err = pulls.New(pulls.Config{Registry: registry, Share: 1, Log: config.Log}); err != nil {
				b.Fatal(err)
			}
		}
		s, err := New(config)
		if err != nil {
			b.Fatal(err)
		}
		handlers[on] = s.Handler()
	}
	for name, reference := range map[string]string{"digest": pushed.Digest.String(), "tag": "1.0"} {
		b.Run(name, func(b *testing.B) {
			took := map[bool]time.Duration{}
			for b.Loop() {
				for _, on := range []bool{false, true} {
					const turn = 20
					begin := time.Now()
					for range turn {
						r := httptest.NewRequest("GET", "http://127.0.0.1/v2/release/acme/app/manifests/"+reference, nil)
						r.Header.Set("User-Agent", "containerd/v2.1.4")
						w := httptest.NewRecorder()
						if handlers[on].ServeHTTP(w, r); w.Code != 200 {
							b.Fatal(w.Code, w.Body)
						}
					}
					took[on] += time.Since(begin) / turn
				}
			}
			for on, name := range map[bool]string{false: "ns/off", true: "ns/on"} {
				b.ReportMetric(float64(took[on].Nanoseconds())/float64(b.N), name)
			}
			b.ReportMetric(float64(took[true])/float64(took[false]), "ratio")
		})
	}
}
