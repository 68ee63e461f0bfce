package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// dockerJob builds, pushes, pulls and lists with docker, whose manifests are of Docker's
// own types, and pulls what others pushed in OCI's.
func dockerJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.StartDocker()
	h.File("context/Dockerfile", []byte("FROM scratch\nCOPY hello.txt /\nCMD [\"/hello\"]\n"))
	h.File("context/hello.txt", []byte("hello from docker"))
	repository := s.host + "/dev/docker/app"
	ref := repository + ":1.0"
	h.Run("docker", "build", "--quiet", "--tag", ref, "context")
	out := h.Run("docker", "push", ref)
	digest := strings.TrimSpace(h.Run("crane", "digest", "--insecure", ref))
	has(t, out, "1.0: digest: "+digest)
	has(t, h.Run("crane", "manifest", "--insecure", ref), "application/vnd.docker.distribution.manifest.v2+json")

	h.Run("docker", "rmi", ref)
	has(t, h.Run("docker", "pull", ref), "Digest: "+digest, "Downloaded newer image")
	has(t, h.Run("docker", "pull", repository+"@"+digest), "Digest: "+digest)
	h.Run("docker", "create", "--name", "made", ref)
	h.Run("docker", "cp", "made:/hello.txt", "pulled.txt")
	if got, err := os.ReadFile(filepath.Join(h.Dir(), "pulled.txt")); err != nil || string(got) != "hello from docker" {
		t.Errorf("pulled %q, %v", got, err)
	}

	// A second image shares the layer, which is not sent again.
	h.Run("docker", "commit", "--change", "LABEL again=yes", "made", repository+":2.0")
	has(t, h.Run("docker", "push", repository+":2.0"), "Layer already exists")
	h.Run("docker", "tag", ref, s.host+"/dev/docker/mounted:1.0")
	has(t, h.Run("docker", "push", s.host+"/dev/docker/mounted:1.0"), "Mounted from dev/docker/app", digest)
	h.Run("docker", "tag", ref, repository+":3.0")
	h.Run("docker", "push", "--all-tags", repository)
	has(t, h.Run("crane", "ls", "--insecure", repository), "1.0", "2.0", "3.0")

	list := s.host + "/dev/docker/list:1.0"
	h.Run("docker", "manifest", "create", "--insecure", list, ref)
	h.Run("docker", "manifest", "push", "--insecure", list)
	has(t, h.Run("docker", "manifest", "inspect", "--insecure", list), "manifest.list.v2+json", digest)
	h.Run("docker", "pull", list)

	craneImage(t, h, s.host, "docker/oci", "1.0")
	h.Run("docker", "pull", "--platform", "linux/arm64", s.host+"/dev/docker/oci:1.0")
	has(t, h.Run("docker", "image", "inspect", "--format", "{{.Architecture}}", s.host+"/dev/docker/oci:1.0"), "arm64")
	h.Run("docker", "import", "layer-amd64.tar", s.host+"/dev/docker/imported:1.0")
	h.Run("docker", "push", "--quiet", s.host+"/dev/docker/imported:1.0")
	h.Run("crane", "validate", "--insecure", "--remote", s.host+"/dev/docker/imported:1.0")
}
