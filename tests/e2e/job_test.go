package e2e_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/apispec"
	"sluice.dev/sluice/tests/clients"
)

// TestEmbedded does the main job as a newcomer would: no configuration.
func TestEmbedded(t *testing.T) { job(t, serveEmbedded(t)) }

// TestExternal does the same against etcd and S3 servers that are processes of their own.
func TestExternal(t *testing.T) { job(t, serveExternal(t)) }

// job is everything that has to work whatever stores are behind the server.
func job(t *testing.T, s *server) {
	api := &http.Client{Transport: apispec.New(t).Wrap(t, nil)}
	for _, part := range []struct {
		name string
		run  func(*testing.T, *server, *http.Client)
	}{
		{"oras", orasJob}, {"crane", craneJob}, {"skopeo", skopeoJob}, {"podman", podmanJob}, {"buildah", buildahJob},
		{"docker", dockerJob}, {"regctl", regctlJob}, {"helm", helmJob}, {"cosign", cosignJob}, {"signature", signatureJob}, {"dsse", dsseJob}, {"policy", policyJob}, {"notation", notationJob},
		{"copy", copyJob}, {"day one", dayOneJob}, {"refused", refusedJob}, {"verbs", verbsJob}, {"api", apiJob}, {"pages", pagesJob},
	} {
		t.Run(part.name, func(t *testing.T) {
			own := *s
			own.T = t
			part.run(t, &own, api)
		})
	}
}

// layer is a tar archive with one file.
func layer(t *testing.T, content string) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "hello.txt", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// has fails the test unless out holds every one of the words.
func has(t *testing.T, out string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(out, word) {
			t.Errorf("%q is not in:\n%s", word, out)
		}
	}
}

func orasJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.File("hello.txt", []byte("hello"))
	h.File("sbom.json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
	ref := s.host + "/dev/oras/app:1.0"
	h.Run("oras", "push", "--plain-http", ref, "hello.txt:text/plain", "--artifact-type", "application/vnd.example.app")
	h.Run("oras", "attach", "--plain-http", ref, "sbom.json:application/spdx+json", "--artifact-type", "application/spdx+json")
	has(t, h.Run("oras", "discover", "--plain-http", "--format", "json", ref), "application/spdx+json")
	has(t, h.Run("oras", "discover", "--plain-http", "--format", "json", "--artifact-type", "application/none", ref), `"referrers": []`)
	has(t, h.Run("oras", "repo", "tags", "--plain-http", s.host+"/dev/oras/app"), "1.0")
	h.Run("oras", "pull", "--plain-http", "-o", "out", ref)
	h.Run("oras", "cp", "--from-plain-http", "--to-plain-http", "-r", ref, s.host+"/dev/oras/copy:1.0")
	has(t, h.Run("oras", "discover", "--plain-http", "--format", "json", s.host+"/dev/oras/copy:1.0"), "application/spdx+json")
	h.Run("oras", "manifest", "delete", "--plain-http", "--force", s.host+"/dev/oras/copy:1.0")
	h.Refused("oras", "pull", "--plain-http", s.host+"/dev/oras/copy:1.0")
}

// craneImage pushes a two-platform image and returns its digest.
func craneImage(t *testing.T, h *clients.Home, host, repository, tag string) string {
	t.Helper()
	base := host + "/dev/" + repository
	for _, arch := range []string{"amd64", "arm64"} {
		h.File("layer-"+arch+".tar", layer(t, "hello from "+arch+" in "+repository+" "+tag))
		h.Run("crane", "append", "--insecure", "--platform", "linux/"+arch, "-f", "layer-"+arch+".tar", "-t", base+":"+tag+"-"+arch)
		h.Run("crane", "mutate", "--insecure", "--set-platform", "linux/"+arch, "-t", base+":"+tag+"-"+arch, base+":"+tag+"-"+arch)
	}
	h.Run("crane", "index", "append", "--insecure", "-m", base+":"+tag+"-amd64", "-m", base+":"+tag+"-arm64", "-t", base+":"+tag)
	return strings.TrimSpace(h.Run("crane", "digest", "--insecure", base+":"+tag))
}

func craneJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	craneImage(t, h, s.host, "crane/app", "1.0")
	ref := s.host + "/dev/crane/app:1.0"
	h.Run("crane", "validate", "--insecure", "--remote", ref)
	h.Run("crane", "copy", "--insecure", ref, s.host+"/dev/crane/copy:1.0")
	h.Run("crane", "validate", "--insecure", "--remote", s.host+"/dev/crane/copy:1.0")
	h.Run("crane", "pull", "--insecure", "--platform", "linux/amd64", ref, "image.tar")
	h.Run("crane", "push", "--insecure", "image.tar", s.host+"/dev/crane/pushed:1.0")
	has(t, h.Run("crane", "catalog", "--insecure", s.host), "dev/crane/app", "dev/crane/pushed")
	has(t, h.Run("crane", "ls", "--insecure", s.host+"/dev/crane/app"), "1.0", "1.0-amd64")
	h.Run("crane", "delete", "--insecure", s.host+"/dev/crane/pushed:1.0")
}

func skopeoJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	craneImage(t, h, s.host, "skopeo/app", "1.0")
	from := "docker://" + s.host + "/dev/skopeo/app:1.0"
	h.Run("skopeo", "copy", "--all", "--src-tls-verify=false", from, "oci:layout:1.0")
	h.Run("skopeo", "copy", "--all", "--dest-tls-verify=false", "oci:layout:1.0", "docker://"+s.host+"/dev/skopeo/again:1.0")
	h.Run("skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", "v2s2", from, "docker://"+s.host+"/dev/skopeo/schema2:1.0")
	has(t, h.Run("skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+s.host+"/dev/skopeo/schema2:1.0"), "application/vnd.docker.distribution.manifest")
	has(t, h.Run("skopeo", "list-tags", "--tls-verify=false", "docker://"+s.host+"/dev/skopeo/again"), "1.0")
}

func podmanJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	craneImage(t, h, s.host, "podman/app", "1.0")
	ref := s.host + "/dev/podman/app:1.0"
	h.Run("podman", "pull", "--tls-verify=false", ref)
	h.Run("podman", "tag", ref, s.host+"/dev/podman/pushed:1.0")
	h.Run("podman", "push", "--tls-verify=false", s.host+"/dev/podman/pushed:1.0")
	h.Run("podman", "push", "--tls-verify=false", "--format", "v2s2", ref, s.host+"/dev/podman/schema2:1.0")
	h.Run("crane", "validate", "--insecure", "--remote", s.host+"/dev/podman/pushed:1.0")
}

// provenance, sbom and testResult are predicates that satisfy the sample policies.
const (
	provenance = `{"buildDefinition":{"buildType":"https://example.com/build/v1","externalParameters":{"ref":"refs/heads/main"}},` +
		`"runDetails":{"builder":{"id":"https://example.com/builder"},"metadata":{"finishedOn":"%NOW%"}}}`
	sbom       = `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"app","dataLicense":"CC0-1.0","packages":[{"name":"app","SPDXID":"SPDXRef-app"}]}`
	testResult = `{"result":"PASSED","configuration":[{"name":"suite"}],"finishedOn":"%NOW%"}`
)

var attestations = []struct{ predicateType, predicate string }{
	{"https://slsa.dev/provenance/v1", provenance},
	{"https://spdx.dev/Document", sbom},
	{"https://in-toto.io/attestation/test-result/v0.1", testResult},
}

// key is the sample CI key.
func (s *server) key() string { return filepath.Join(s.data, "keys", "ci.key") }

// summaryKey writes the public key of a tier's summaries, as the API gives it, to a file.
func (s *server) summaryKey(h *clients.Home, api *http.Client, tier string) string {
	s.Helper()
	var answer struct {
		Keys []struct{ Tier, Use, PublicKey string }
	}
	s.call(api, "GET", "/api/v1/keys", nil, 200, &answer)
	for _, key := range answer.Keys {
		if key.Tier == tier && key.Use == "summary" {
			return h.File(tier+".pub", []byte(key.PublicKey))
		}
	}
	s.Fatalf("no key of %s in %+v", tier, answer)
	return ""
}

// call makes a request of the API, whose answer the client compares with the document.
func (s *server) call(api *http.Client, method, path string, body any, status int, answer any) {
	s.Helper()
	var reader io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			s.Fatal(err)
		}
		reader = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, reader)
	if err != nil {
		s.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := api.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	if resp.StatusCode != status {
		s.Fatalf("%s %s: %s, want %d\n%s", method, path, resp.Status, status, data)
	}
	if answer != nil {
		if err := json.Unmarshal(data, answer); err != nil {
			s.Fatalf("%s %s: %v\n%s", method, path, err, data)
		}
	}
}
