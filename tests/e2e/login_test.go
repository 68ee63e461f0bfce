package e2e_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/tests/clients"
)

// TestLogin logs in with each client's own command, over plain HTTP on loopback: a wrong
// password is refused, the right one is kept and used.
func TestLogin(t *testing.T) {
	s := serveUsers(t)
	ci := clients.New(t)
	ci.Login(s.host, "ci", "secret-of-ci")
	craneImage(t, ci, s.host, "acme/app", "1.0")
	ci.File("app/Chart.yaml", []byte("apiVersion: v2\nname: app\nversion: 1.0.0\n"))
	ci.Run("helm", "package", "app")
	ci.Run("helm", "push", "--plain-http", "app-1.0.0.tgz", "oci://"+s.host+"/dev/acme/charts")
	ref := s.host + "/dev/acme/app:1.0"

	for _, c := range []struct {
		client      string
		login, pull []string
		late        bool // the login looks at no password
	}{
		{client: "docker", login: []string{"login", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"pull", ref}},
		{client: "podman", login: []string{"login", "--tls-verify=false", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"pull", "--tls-verify=false", ref}},
		{client: "buildah", login: []string{"login", "--tls-verify=false", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"pull", "--tls-verify=false", ref}},
		{client: "skopeo", login: []string{"login", "--tls-verify=false", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"inspect", "--tls-verify=false", "docker://" + ref}},
		{client: "oras", login: []string{"login", "--plain-http", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"manifest", "fetch", "--plain-http", ref}},
		{client: "regctl", login: []string{"registry", "login", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"manifest", "get", ref}},
		{client: "helm", login: []string{"registry", "login", "--plain-http", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"pull", "--plain-http", "oci://" + s.host + "/dev/acme/charts/app", "--version", "1.0.0"}},
		{client: "crane", login: []string{"auth", "login", "-u", "ci", "-p", "PASSWORD", s.host}, pull: []string{"manifest", "--insecure", ref}, late: true},
	} {
		t.Run(c.client, func(t *testing.T) {
			h := clients.New(t)
			switch c.client {
			case "docker":
				h.StartDocker()
			case "regctl":
				h.Run("regctl", "registry", "set", "--skip-check", s.host, "--tls", "disabled")
			}
			login := func(password string) []string {
				args := strings.ReplaceAll(strings.Join(c.login, "\n"), "PASSWORD", password)
				return strings.Split(args, "\n")
			}
			h.Refused(c.client, c.pull...)
			if c.late {
				h.Run(c.client, login("wrong")...)
			} else {
				h.Refused(c.client, login("wrong")...)
			}
			h.Refused(c.client, c.pull...)
			h.Run(c.client, login("secret-of-ci")...)
			h.Run(c.client, c.pull...)
		})
	}
}
