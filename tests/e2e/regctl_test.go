package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// regctlJob asks for what the other clients do not: single blobs, chunked uploads, the
// deletion of a tag, pages of tags and repositories, indexes with an artifact type.
func regctlJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.Run("regctl", "registry", "set", s.host, "--tls", "disabled")
	repository := s.host + "/dev/regctl/app"
	ref := repository + ":1.0"
	h.Input("hello", "regctl", "artifact", "put", "--artifact-type", "application/vnd.example.app", "-m", "text/plain", ref)
	digest := strings.TrimSpace(h.Run("regctl", "manifest", "head", ref))
	if got := h.Run("regctl", "artifact", "get", ref); got != "hello" {
		t.Errorf("got %q", got)
	}
	h.Input("{}", "regctl", "artifact", "put", "--artifact-type", "application/spdx+json", "--subject", ref)
	h.Input("{}", "regctl", "artifact", "put", "--artifact-type", "application/vnd.example.scan", "--subject", ref)
	list := func(ref string, flags ...string) []string {
		args := append([]string{"artifact", "list", ref, "--format", "{{range .Descriptors}}{{println .ArtifactType}}{{end}}"}, flags...)
		types := strings.Fields(h.Run("regctl", args...))
		slices.Sort(types)
		return types
	}
	both := []string{"application/spdx+json", "application/vnd.example.scan"}
	if got := list(ref); !slices.Equal(got, both) {
		t.Errorf("referrers are %v", got)
	}
	if got := list(ref, "--filter-artifact-type", both[1]); !slices.Equal(got, both[1:]) {
		t.Errorf("referrers of one type are %v", got)
	}

	// Two tags, of which one goes, and with it nothing else.
	h.Run("regctl", "image", "copy", ref, repository+":2.0")
	if got := h.Run("regctl", "tag", "ls", repository); got != "1.0\n2.0\n" {
		t.Errorf("tags are %q", got)
	}
	if got := h.Run("regctl", "tag", "ls", "--limit", "1", "--last", "1.0", repository); got != "2.0\n" {
		t.Errorf("the page of tags is %q", got)
	}
	h.Run("regctl", "tag", "delete", repository+":2.0")
	h.Refused("regctl", "manifest", "head", repository+":2.0")
	has(t, h.Run("regctl", "manifest", "head", ref), digest)
	if got := list(repository + "@" + digest); !slices.Equal(got, both) {
		t.Errorf("referrers after a tag went are %v", got)
	}

	blob := strings.TrimSpace(h.Input("a blob", "regctl", "blob", "put", repository))
	h.Run("regctl", "blob", "head", repository, blob)
	h.Run("regctl", "blob", "copy", repository, s.host+"/dev/regctl/other", blob)
	h.Run("regctl", "blob", "delete", repository, blob)
	h.Refused("regctl", "blob", "head", repository, blob)
	if got := h.Run("regctl", "blob", "get", s.host+"/dev/regctl/other", blob); got != "a blob" {
		t.Errorf("the mounted blob is %q", got)
	}
	h.Run("regctl", "registry", "set", s.host, "--blob-max", "1000", "--blob-chunk", "1000")
	large := strings.Repeat("chunks ", 1000)
	blob = strings.TrimSpace(h.Input(large, "regctl", "blob", "put", repository))
	if got := h.Run("regctl", "blob", "get", repository, blob); got != large {
		t.Errorf("%d bytes came back from a chunked upload of %d", len(got), len(large))
	}

	craneImage(t, h, s.host, "regctl/image", "1.0")
	index := repository + ":index"
	h.Run("regctl", "index", "create", index, "--ref", s.host+"/dev/regctl/image:1.0-amd64", "--ref", s.host+"/dev/regctl/image:1.0-arm64", "--artifact-type", "application/vnd.example.set")
	has(t, h.Run("regctl", "manifest", "get", "--format", "raw-body", index), "application/vnd.example.set", "amd64", "arm64")
	has(t, h.Run("regctl", "repo", "ls", s.host), "dev/regctl/app", "dev/regctl/image")
	if got := h.Run("regctl", "repo", "ls", "--limit", "1", "--last", "dev/regctl/app", s.host); got != "dev/regctl/image\n" {
		t.Errorf("the page of repositories is %q", got)
	}
	h.Run("regctl", "manifest", "delete", repository+"@"+digest)
	h.Refused("regctl", "manifest", "head", ref)
}
