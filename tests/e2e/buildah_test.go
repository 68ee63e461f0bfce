package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// buildahJob makes an image without a daemon, and pushes it in both formats and in a list.
func buildahJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.File("hello.txt", []byte("hello from buildah"))
	ref := s.host + "/dev/buildah/app:1.0"
	container := strings.TrimSpace(h.Run("buildah", "from", "scratch"))
	h.Run("buildah", "add", container, "hello.txt", "/")
	h.Run("buildah", "config", "--cmd", "/hello", container)
	h.Run("buildah", "commit", "--rm", container, ref)
	h.Run("buildah", "push", "--tls-verify=false", "--digestfile", "digest", ref)
	said, err := os.ReadFile(filepath.Join(h.Dir(), "digest"))
	if err != nil {
		t.Fatal(err)
	}
	digest := strings.TrimSpace(h.Run("crane", "digest", "--insecure", ref))
	if string(said) != digest {
		t.Errorf("buildah pushed %q, crane finds %s", said, digest)
	}
	has(t, h.Run("crane", "manifest", "--insecure", ref), "application/vnd.oci.image.manifest.v1+json")

	h.Run("buildah", "rmi", ref)
	h.Run("buildah", "pull", "--tls-verify=false", ref)
	h.Run("buildah", "push", "--tls-verify=false", "--format", "v2s2", ref, "docker://"+s.host+"/dev/buildah/schema2:1.0")
	has(t, h.Run("crane", "manifest", "--insecure", s.host+"/dev/buildah/schema2:1.0"), "application/vnd.docker.distribution.manifest.v2+json")
	h.Run("crane", "validate", "--insecure", "--remote", s.host+"/dev/buildah/schema2:1.0")

	h.Run("buildah", "manifest", "create", "list")
	h.Run("buildah", "manifest", "add", "--tls-verify=false", "list", ref)
	h.Run("buildah", "manifest", "push", "--all", "--tls-verify=false", "list", "docker://"+s.host+"/dev/buildah/list:1.0")
	has(t, h.Run("crane", "manifest", "--insecure", s.host+"/dev/buildah/list:1.0"), "application/vnd.oci.image.index.v1+json", digest)
}
