package clients_test

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
)

// startRegistry runs crane's registry, which keeps everything in memory: somebody else's
// server, so that these tests are about the clients alone.
func startRegistry(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), clients.Path(t, "crane"), "registry", "serve", "--address", addr)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // the context has ended it
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get("http://" + addr + "/v2/")
		if err == nil {
			resp.Body.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("registry did not start: %v", err)
		}
	}
}

// image pushes a runnable image with one layer and returns its reference by digest.
func image(h *clients.Home, repository string) string {
	layer := h.File("layer.tar", tarball())
	return strings.TrimSpace(h.Run("crane", "append", "--oci-empty-base", "-f", layer, "-t", repository+":1.0"))
}

func TestPushAndPull(t *testing.T) {
	registry := startRegistry(t)
	h := clients.New(t)
	ref := image(h, registry+"/acme/app")
	_, digest, ok := strings.Cut(ref, "@")
	if !ok {
		t.Fatalf("crane printed %q, want a digest", ref)
	}

	t.Run("oras", func(t *testing.T) {
		h := clients.New(t)
		h.File("notes.txt", []byte("hello"))
		h.Run("oras", "push", "--plain-http", registry+"/acme/notes:1", "notes.txt:text/plain")
		if err := os.Remove(filepath.Join(h.Dir(), "notes.txt")); err != nil {
			t.Fatal(err)
		}
		h.Run("oras", "pull", "--plain-http", registry+"/acme/notes:1")
		got, err := os.ReadFile(filepath.Join(h.Dir(), "notes.txt"))
		if err != nil || string(got) != "hello" {
			t.Errorf("pulled %q, %v", got, err)
		}
	})
	t.Run("skopeo", func(t *testing.T) {
		h := clients.New(t)
		h.Run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+ref, "docker://"+registry+"/acme/copy:1")
		if got := strings.TrimSpace(h.Run("crane", "digest", registry+"/acme/copy:1")); got != digest {
			t.Errorf("copied %s, want %s", got, digest)
		}
	})
	t.Run("docker", func(t *testing.T) {
		h := clients.New(t)
		h.StartDocker()
		h.Run("docker", "pull", "--quiet", ref)
		h.Run("docker", "tag", ref, registry+"/acme/docker:1")
		h.Run("docker", "push", "--quiet", registry+"/acme/docker:1")
		if got := h.Run("crane", "manifest", registry+"/acme/docker:1"); !json.Valid([]byte(got)) {
			t.Errorf("docker pushed %q", got)
		}
	})
	t.Run("buildah", func(t *testing.T) {
		h := clients.New(t)
		h.Run("buildah", "pull", "--tls-verify=false", ref)
		h.Run("buildah", "push", "--tls-verify=false", ref, "docker://"+registry+"/acme/buildah:1")
		if got := h.Run("crane", "manifest", registry+"/acme/buildah:1"); !json.Valid([]byte(got)) {
			t.Errorf("buildah pushed %q", got)
		}
	})
	t.Run("regctl", func(t *testing.T) {
		h := clients.New(t)
		h.Run("regctl", "registry", "set", registry, "--tls", "disabled")
		blob := strings.TrimSpace(h.Input("hello", "regctl", "blob", "put", registry+"/acme/regctl"))
		if got := h.Run("regctl", "blob", "get", registry+"/acme/regctl", blob); got != "hello" {
			t.Errorf("regctl gave back %q", got)
		}
	})
	t.Run("podman", func(t *testing.T) {
		h := clients.New(t)
		h.Run("podman", "pull", "--tls-verify=false", "--quiet", ref)
		h.Run("podman", "tag", ref, registry+"/acme/podman:1")
		h.Run("podman", "push", "--tls-verify=false", "--quiet", registry+"/acme/podman:1")
		if got := h.Run("crane", "manifest", registry+"/acme/podman:1"); !json.Valid([]byte(got)) {
			t.Errorf("podman pushed %q", got)
		}
	})
}

func TestRefused(t *testing.T) {
	registry := startRegistry(t)
	h := clients.New(t)
	if said := h.Refused("crane", "digest", registry+"/acme/none:1"); !strings.Contains(said, "404") {
		t.Errorf("crane said %q", said)
	}
}

// TestLogin asks each client for its credentials, by a server that wants them.
func TestLogin(t *testing.T) {
	for _, name := range []string{"crane", "oras", "skopeo", "podman", "docker", "buildah", "regctl", "helm", "notation"} {
		t.Run(name, func(t *testing.T) {
			seen := make(chan string, 100)
			addr := serve(t, func(w http.ResponseWriter, r *http.Request) {
				user, password, ok := r.BasicAuth()
				if !ok {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					w.WriteHeader(http.StatusUnauthorized)
					return
				}
				seen <- user + ":" + password
				w.WriteHeader(http.StatusNotFound)
			})
			h := clients.New(t)
			h.Login(addr, "ci", "secret")
			if name == "docker" {
				h.StartDocker()
			}
			args := map[string][]string{
				"crane":    {"manifest", addr + "/a/b:1"},
				"oras":     {"manifest", "fetch", "--plain-http", addr + "/a/b:1"},
				"skopeo":   {"inspect", "--tls-verify=false", "docker://" + addr + "/a/b:1"},
				"podman":   {"pull", "--tls-verify=false", addr + "/a/b:1"},
				"docker":   {"pull", addr + "/a/b:1"},
				"buildah":  {"pull", "--tls-verify=false", addr + "/a/b:1"},
				"regctl":   {"--host", "reg=" + addr + ",tls=disabled", "manifest", "get", addr + "/a/b:1"},
				"helm":     {"pull", "--plain-http", "oci://" + addr + "/a/b", "--version", "1.0.0"},
				"notation": {"list", "--insecure-registry", addr + "/a/b:1"},
			}[name]
			h.Refused(name, args...)
			select {
			case got := <-seen:
				if got != "ci:secret" {
					t.Errorf("sent %q", got)
				}
			default:
				t.Error("sent no credentials")
			}
		})
	}
}

func TestCosign(t *testing.T) {
	registry := startRegistry(t)
	h := clients.New(t)
	ref := image(h, registry+"/acme/app")
	predicate := h.File("predicate.json", []byte(`{"result":"PASSED"}`))
	const predicateType = "https://in-toto.io/attestation/test-result/v0.1"

	signer := h.NewCosign()
	signer.VerifyAttestationRefused(ref, predicateType)
	signer.Attest(ref, predicateType, predicate)
	if out := signer.VerifyAttestation(ref, predicateType); !strings.Contains(out, "payload") {
		t.Errorf("cosign printed %q", out)
	}
	signer.VerifyAttestationRefused(ref, "https://example.com/other")

	other := clients.New(t).NewCosign()
	other.VerifyAttestationRefused(ref, predicateType)

	signer.Sign(ref)
	signer.AttestTag(ref, predicateType, predicate)
	if tags := h.Run("crane", "ls", registry+"/acme/app"); !strings.Contains(tags, ".att") {
		t.Errorf("no attestation tag among %q", tags)
	}
}

// TestDockerEnds looks for what a daemon may leave behind: processes, and mounts.
func TestDockerEnds(t *testing.T) {
	var socket string
	t.Run("daemon", func(t *testing.T) {
		h := clients.New(t)
		h.StartDocker()
		socket = strings.TrimSpace(h.Run("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"))
	})
	dir := filepath.Dir(strings.TrimPrefix(socket, "unix://"))
	if !filepath.IsAbs(dir) {
		t.Fatalf("docker's socket is %q", socket)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(commands) == 0 {
		t.Fatalf("no processes in /proc: %v", err)
	}
	for _, file := range commands {
		data, err := os.ReadFile(file)
		if err == nil && bytes.Contains(data, []byte(dir)) { // a process may have ended meanwhile
			t.Errorf("%s still tells of %s: %q", file, dir, data)
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || bytes.Contains(mounts, []byte(dir)) || bytes.Contains(mounts, []byte(t.Name())) { // the name is in the path of a home
		t.Errorf("a mount is left: %v\n%s", err, mounts)
	}
}

func TestNotation(t *testing.T) {
	registry := startRegistry(t)
	h := clients.New(t)
	ref := image(h, registry+"/acme/app")

	signer := h.NewNotation()
	signer.VerifyRefused(ref)
	signer.SignTag(ref)
	signer.Verify(ref)
	clients.New(t).NewNotation().VerifyRefused(ref)
	signer.Sign(ref)
	if got := strings.Count(signer.List(ref), "sha256:"); got != 3 {
		t.Errorf("notation lists %d digests, want the image and two signatures", got)
	}
}
