package e2e_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// copyJob copies an image with all that is attached to it between two repositories, with
// each client that copies, and compares what arrived.
func copyJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.Run("regctl", "registry", "set", s.host, "--tls", "disabled")
	from := s.host + "/dev/copy/app"
	craneImage(t, h, s.host, "copy/app", "crane")
	// skopeo 1.9 drops the artifact type that crane gives the entries of an index.
	h.Run("regctl", "index", "create", from+":1.0", "--ref", from+":crane-amd64", "--ref", from+":crane-arm64")
	digest := strings.TrimSpace(h.Run("regctl", "manifest", "head", from+":1.0"))
	h.File("sbom.json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	attach := func(subject string) string {
		out := h.Run("oras", "attach", "--plain-http", "--format", "json", "--artifact-type", "application/spdx+json", from+"@"+subject, "sbom.json:application/spdx+json")
		var attached struct{ Digest string }
		if err := json.Unmarshal([]byte(out), &attached); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return attached.Digest
	}
	attach(attach(digest))                                  // an SBOM, and something about the SBOM
	attach(s.index("dev/copy/app", "manifests/"+digest)[0]) // something about one platform
	cosign := h.CosignWith(s.key(), strings.TrimSuffix(s.key(), ".key")+".pub")
	predicate := h.File("predicate.json", now(testResult))
	cosign.Attest(from+"@"+digest, "https://in-toto.io/attestation/test-result/v0.1", predicate)
	cosign.AttestTag(from+"@"+digest, "https://in-toto.io/attestation/test-result/v0.1", predicate)
	attached := s.attached("dev/copy/app", digest)
	if len(attached) != 4 {
		t.Fatalf("attached is %v", attached)
	}
	att := strings.Replace(digest, ":", "-", 1) + ".att"

	for _, c := range []struct {
		name      string
		args      []string
		referrers []string
		att       bool
	}{
		{"oras", []string{"cp", "-r", "--from-plain-http", "--to-plain-http", "FROM", "TO"}, attached, false},
		{"regctl", []string{"image", "copy", "--referrers", "--digest-tags", "FROM", "TO"}, attached, true},
		{"cosign", []string{"copy", "--allow-http-registry", "FROM", "TO"}, nil, true},
		{"skopeo", []string{"copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://FROM", "docker://TO"}, nil, false},
		{"crane", []string{"copy", "--insecure", "FROM", "TO"}, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, s := h, *s
			s.T = t
			repository := "dev/copy/" + c.name
			names := strings.NewReplacer("FROM", from+":1.0", "TO", s.host+"/"+repository+":1.0")
			for i := range c.args {
				c.args[i] = names.Replace(c.args[i])
			}
			h.Run(c.name, c.args...)
			h.Run("crane", "validate", "--insecure", "--remote", s.host+"/"+repository+":1.0")
			if got := strings.TrimSpace(h.Run("crane", "digest", "--insecure", s.host+"/"+repository+":1.0")); got != digest {
				t.Errorf("the copy is %s, want %s", got, digest)
			}
			if got := s.attached(repository, digest); !slices.Equal(got, c.referrers) {
				t.Errorf("attached to the copy is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.referrers, "\n"))
			}
			if tags := h.Run("crane", "ls", "--insecure", s.host+"/"+repository); strings.Contains(tags, att) != c.att {
				t.Errorf("the tags are %q, want cosign's among them: %v", tags, c.att)
			}
		})
	}
}

// attached lists what refers to a manifest, to its children, and to what refers to those,
// as "referrer → subject".
func (s *server) attached(repository, digest string) (all []string) {
	s.Helper()
	for _, referrer := range s.index(repository, "referrers/"+digest) {
		all = append(all, referrer+" → "+digest)
		all = append(all, s.attached(repository, referrer)...)
	}
	for _, child := range s.index(repository, "manifests/"+digest) {
		all = append(all, s.attached(repository, child)...)
	}
	slices.Sort(all)
	return all
}

// index lists the digests of an index that stands under a path of the repository, sorted.
// An image has none.
func (s *server) index(repository, path string) (digests []string) {
	s.Helper()
	resp, err := http.Get(s.url + "/v2/" + repository + "/" + path)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	var index struct{ Manifests []struct{ Digest string } }
	if err := json.NewDecoder(resp.Body).Decode(&index); err != nil || resp.StatusCode != http.StatusOK {
		s.Fatalf("GET %s of %s: %s, %v", path, repository, resp.Status, err)
	}
	for _, m := range index.Manifests {
		digests = append(digests, m.Digest)
	}
	slices.Sort(digests)
	return digests
}
