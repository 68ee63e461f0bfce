package server

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
)

func TestTiers(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.pushImage("dev/acme/app", "latest", "layer", "")
	a.pushImage("dev/acme/web", "1.0", "web", "")
	a.provenance("acme/app", d)
	a.want(a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable")), 201, "")

	list := get[struct{ Tiers []tierView }](a, "/api/v1/tiers")
	if len(list.Tiers) != 3 || list.Tiers[0].Name != "dev" || !list.Tiers[0].Push || list.Tiers[0].Policy != nil ||
		list.Tiers[1].From != "dev" || list.Tiers[1].Push || list.Tiers[2].Policy.Name != "stable-to-release" {
		t.Errorf("tiers %+v", list.Tiers)
	}
	for path, want := range map[string]string{
		"/api/v1/tiers?n=1":                               "dev next=dev",
		"/api/v1/tiers?n=2&last=dev":                      "stable release",
		"/api/v1/tiers/dev/repositories":                  "acme/app acme/web",
		"/api/v1/tiers/dev/repositories?n=1":              "acme/app next=acme/app",
		"/api/v1/tiers/dev/repositories?last=acme/app":    "acme/web",
		"/api/v1/tiers/dev/repositories?last=zzz":         "",
		"/api/v1/tiers/dev/repositories?last=%2e%2e/tier": "acme/app acme/web",
		"/api/v1/tiers/stable/repositories":               "acme/app",
		"/api/v1/tiers/release/repositories":              "",
	} {
		page := get[struct {
			Tiers        []struct{ Name string }
			Repositories []string
			Next         string
		}](a, path)
		names := page.Repositories
		for _, tier := range page.Tiers {
			names = append(names, tier.Name)
		}
		if page.Next != "" {
			names = append(names, "next="+page.Next)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}

	artifacts := get[artifactList](a, "/api/v1/tiers/dev/artifacts?repository=acme/app")
	if len(artifacts.Artifacts) != 2 {
		t.Errorf("artifacts %+v, want the image and the provenance", artifacts)
	}
	for _, artifact := range artifacts.Artifacts {
		if image := artifact.Digest == d; image != slices.Equal(artifact.Tags, []string{"1.0", "latest"}) || image != (artifact.Subject == "") {
			t.Errorf("artifact %+v", artifact)
		}
	}
	first := get[artifactList](a, "/api/v1/tiers/dev/artifacts?repository=acme/app&n=1")
	second := get[artifactList](a, "/api/v1/tiers/dev/artifacts?repository=acme/app&n=1&last="+first.Next)
	if len(first.Artifacts) != 1 || first.Next == "" || len(second.Artifacts) != 1 || second.Next != "" {
		t.Errorf("pages %+v and %+v", first, second)
	}
}

type artifactList struct {
	Artifacts []promote.Artifact
	Next      string
}

type evidenceList struct {
	Evidence []struct {
		Digest, Subject digest.Digest
		Verified        bool
		PredicateType   string
		Problem         string
	}
	Next string
}

func TestEvidence(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	path := "/api/v1/tiers/dev/evidence?repository=acme/app&digest=" + d.String()
	if list := get[evidenceList](a, path); len(list.Evidence) != 0 {
		t.Errorf("evidence %+v of an image without any", list)
	}
	a.provenance("acme/app", d)
	trusted := a.ci
	a.ci, _ = newSigner(t) // of a key that no policy names
	a.provenance("acme/app", d)
	a.ci = trusted

	list := get[evidenceList](a, path)
	if len(list.Evidence) != 2 || list.Evidence[0].Digest >= list.Evidence[1].Digest {
		t.Fatalf("evidence %+v, want two by digest", list)
	}
	verified := 0
	for _, e := range list.Evidence {
		if e.Verified {
			verified++
		}
		if e.Subject != d || e.PredicateType != testProvenance || e.Verified != (e.Problem == "") {
			t.Errorf("evidence %+v", e)
		}
	}
	if verified != 1 {
		t.Errorf("%d are verified, want 1", verified)
	}
	first := get[evidenceList](a, path+"&n=1")
	second := get[evidenceList](a, path+"&n=1&last="+first.Next)
	if len(first.Evidence) != 1 || len(second.Evidence) != 1 || first.Evidence[0] != list.Evidence[0] || second.Evidence[0] != list.Evidence[1] || second.Next != "" {
		t.Errorf("pages %+v and %+v", first, second)
	}
}

func TestTierRefusals(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	for _, tt := range []struct {
		path   string
		status int
		code   string
	}{
		{"prod/repositories", 404, "NAME_UNKNOWN"},
		{"prod/artifacts?repository=acme/app", 404, "NAME_UNKNOWN"},
		{"prod/evidence?repository=acme/app&digest=" + d.String(), 404, "NAME_UNKNOWN"},
		{"dev/artifacts", 400, "REQUEST_INVALID"},
		{"dev/artifacts?repository=", 400, "REQUEST_INVALID"},
		{"dev/artifacts?repository=acme%2F..%2Fapp", 400, "NAME_INVALID"},
		{"dev/artifacts?repository=ACME/app", 400, "NAME_INVALID"},
		{"dev/artifacts?repository=a%00", 400, "NAME_INVALID"},
		{"dev/artifacts?repository=" + strings.Repeat("a", 253), 400, "NAME_INVALID"},
		{"dev/artifacts?repository=acme/app&repository=acme/web", 400, "REQUEST_INVALID"},
		{"dev/artifacts?repo=acme/app", 400, "REQUEST_INVALID"},
		{"dev/artifacts?repository=acme/app;n=1", 400, "REQUEST_INVALID"},
		{"dev/evidence?repository=acme/app", 400, "REQUEST_INVALID"},
		{"dev/evidence?repository=acme/app&digest=1.0", 400, "DIGEST_INVALID"},
		{"dev/evidence?repository=acme/app&digest=" + strings.ToUpper(d.String()), 400, "DIGEST_INVALID"},
		{"dev/evidence?repository=acme/app&digest=" + digest.FromString("x").String(), 404, "MANIFEST_UNKNOWN"},
		{"dev/evidence?repository=acme/app&digest=" + d.String() + "&last=x", 400, "REQUEST_INVALID"},
		{"stable/evidence?repository=acme/app&digest=" + d.String(), 404, "MANIFEST_UNKNOWN"},
	} {
		t.Run(tt.path, func(t *testing.T) {
			a.want(a.call("GET", "/api/v1/tiers/"+tt.path, ""), tt.status, tt.code)
		})
	}
}

// TestPages asks every list for pages that there are not.
func TestPages(t *testing.T) {
	a := newAPI(t, nil)
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	for _, list := range []string{
		"promotions?", "tiers?", "tiers/dev/repositories?", "tiers/dev/artifacts?repository=acme/app&",
		"tiers/dev/evidence?repository=acme/app&digest=" + d.String() + "&", "policies?", "keys?",
	} {
		for query, status := range map[string]int{
			"n=1": 200, "n=1000": 200, "n=0": 400, "n=-1": 400, "n=1001": 400, "n=1e9": 400, "n=": 400, "n=99999999999999999999": 400,
			"n=1&n=2": 400, "N=1": 400, "last=%00": 400, "last=%ff": 400, "last=" + strings.Repeat("a", 1025): 400, "page=2": 400,
		} {
			code := map[int]string{200: "", 400: "REQUEST_INVALID"}[status]
			got := a.call("GET", "/api/v1/"+list+query, "")
			if got.status != status || got.code() != code {
				t.Errorf("%s%s: got %d %s, want %d %s", list, query, got.status, got.code(), status, code)
			}
		}
	}
	if got := a.call("GET", "/api/v1/keys?n=0", ""); !strings.Contains(string(got.body), "from 1 to 1000") {
		t.Errorf("the message does not say what would be right: %s", got.body)
	}
}

// TestGather fills pages of which the caller may see only every so-manyth item.
func TestGather(t *testing.T) {
	for _, tt := range []struct {
		total, n, every int
		want            string
	}{
		{10, 3, 1, "[1 2 3] 3"},
		{3, 3, 1, "[1 2 3] "},
		{0, 3, 1, "[] "},
		{20, 3, 5, "[5 10 15] 15"},
		{100, 1, 50, "[] 10"}, // one request does not read on for ever
	} {
		read := func(_ context.Context, last string, n int) (items []int, next string, err error) {
			from := 0
			if last != "" {
				if from, err = strconv.Atoi(last); err != nil {
					return nil, "", err
				}
			}
			for i := from + 1; i <= min(from+n, tt.total); i++ {
				items = append(items, i)
			}
			if from+n < tt.total {
				next = strconv.Itoa(from + n)
			}
			return items, next, nil
		}
		page, next, err := gather(t.Context(), query{n: tt.n}, read, func(i int) bool { return i%tt.every == 0 })
		if got := fmt.Sprint(page, " ", next); err != nil || got != tt.want {
			t.Errorf("%+v: got %q, %v", tt, got, err)
		}
	}
}
