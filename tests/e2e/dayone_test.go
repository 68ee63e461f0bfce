package e2e_test

import (
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// dayOneJob types what a newcomer types wrong, with every client that pushes, and expects
// an answer that helps.
func dayOneJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.StartDocker()
	craneImage(t, h, s.host, "dayone/app", "1.0")
	dev := s.host + "/dev/dayone/app:1.0"
	h.Run("crane", "pull", "--insecure", "--platform", "linux/amd64", dev, "image.tar")
	h.Run("podman", "pull", "--quiet", "--tls-verify=false", dev)
	h.Run("buildah", "pull", "--quiet", "--tls-verify=false", dev)
	h.Run("docker", "pull", "--quiet", dev)
	h.Run("regctl", "registry", "set", s.host, "--tls", "disabled")
	h.File("hello.txt", []byte("hello"))
	h.File("app/Chart.yaml", []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n"))
	h.Run("helm", "package", "app")
	h.Run("helm", "push", "--plain-http", "app-1.0.0.tgz", "oci://"+s.host+"/dev/dayone")
	// No password is wanted, and any will do.
	has(t, h.Run("docker", "login", "--username", "somebody", "--password", "something", s.host), "Login Succeeded")

	for _, c := range []struct {
		client     string
		push, pull []string
	}{
		{"docker", []string{"push", "REPO:1.0"}, []string{"pull", "REPO:1.0"}},
		{"podman", []string{"push", "--tls-verify=false", dev, "REPO:1.0"}, []string{"pull", "--tls-verify=false", "REPO:1.0"}},
		{"buildah", []string{"push", "--tls-verify=false", dev, "docker://REPO:1.0"}, []string{"pull", "--tls-verify=false", "REPO:1.0"}},
		{"skopeo", []string{"copy", "--dest-tls-verify=false", "docker-archive:image.tar", "docker://REPO:1.0"}, []string{"inspect", "--tls-verify=false", "docker://REPO:1.0"}},
		{"crane", []string{"push", "--insecure", "image.tar", "REPO:1.0"}, []string{"pull", "--insecure", "REPO:1.0", "pulled.tar"}},
		{"oras", []string{"push", "--plain-http", "REPO:1.0", "hello.txt"}, []string{"pull", "--plain-http", "REPO:1.0"}},
		{"regctl", []string{"artifact", "put", "--artifact-type", "application/vnd.example.app", "-f", "hello.txt", "REPO:1.0"}, []string{"manifest", "get", "REPO:1.0"}},
		{"helm", []string{"push", "--plain-http", "app-1.0.0.tgz", "oci://REPO"}, []string{"pull", "--plain-http", "oci://REPO", "--version", "1.0.0"}},
	} {
		t.Run(c.client, func(t *testing.T) {
			of := func(args []string, repository string) []string {
				named := make([]string, len(args))
				for i, arg := range args {
					named[i] = strings.ReplaceAll(arg, "REPO", repository)
				}
				return named
			}
			try := func(args []string, repository string) string {
				t.Helper()
				if c.client == "docker" && args[0] == "push" {
					h.Run("docker", "tag", dev, repository+":1.0")
				}
				return h.Refused(c.client, of(args, repository)...)
			}
			has(t, try(c.push, s.host+"/dayone/app"), "the tiers are dev, stable, release")
			has(t, try(c.push, s.host+"/stable/dayone/app"), s.host+"/dev/dayone/app", "sluice promote", "--to stable")
			h.Run(c.client, of(c.pull, s.host+"/dev/dayone/app")...) // the command is right
			said := try(c.pull, s.host+"/stable/dayone/app")
			if c.client == "oras" || c.client == "helm" { // which keep to themselves why
				has(t, said, s.host+"/stable/dayone/app:1.0", ": not found")
			} else {
				has(t, said, "manifest unknown: stable/dayone/app:1.0", "it is in dev and rises from there with: sluice promote "+s.host+"/dev/dayone/app:1.0 --to stable")
			}
		})
	}
}
