package e2e_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"sluice.dev/sluice/tests/clients"
)

// serveUsers starts sluice with three users of an htpasswd file: ci pushes below dev/acme,
// manager promotes anything, deploy pulls from stable. The password is secret-of-NAME.
func serveUsers(t *testing.T) *server {
	t.Helper()
	data := filepath.Join(t.TempDir(), "data")
	first := serve(t, data, "--data", data) // writes the sample configuration and keys
	first.stop()
	var users strings.Builder
	for _, user := range []string{"ci", "manager", "deploy"} {
		hash, err := bcrypt.GenerateFromPassword([]byte("secret-of-"+user), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&users, "%s:%s\n", user, hash)
	}
	config := `data: .
tiers:
  - {name: dev, push: true}
  - {name: stable, from: dev, policy: policies/stable.yaml}
  - {name: release, from: stable, policy: policies/release.yaml}
auth:
  htpasswd: users
  grants:
    - {users: [ci], tiers: [dev], repositories: ["acme/**"], actions: [pull, push]}
    - {users: [manager], tiers: [dev, stable, release], repositories: ["**"], actions: [pull, promote]}
    - {users: [deploy], tiers: [stable], repositories: ["acme/**"], actions: [pull]}
`
	for name, content := range map[string]string{"users": users.String(), "auth.yaml": config} {
		if err := os.WriteFile(filepath.Join(data, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, data, "--config", filepath.Join(data, "auth.yaml"))
}

// TestUsers has real clients try what each user may and may not do.
func TestUsers(t *testing.T) {
	s := serveUsers(t)
	as := func(user string) *clients.Home {
		h := clients.New(t)
		if user != "" {
			h.Login(s.host, user, "secret-of-"+user)
		}
		h.File("hello.txt", []byte("hello"))
		return h
	}
	ref := s.host + "/dev/acme/app:1.0"
	nobody, ci, manager, deploy := as(""), as("ci"), as("manager"), as("deploy")

	has(t, nobody.Refused("oras", "push", "--plain-http", ref, "hello.txt"), "credential")
	ci.Run("oras", "push", "--plain-http", ref, "hello.txt")
	ci.Refused("oras", "push", "--plain-http", s.host+"/dev/other/app:1.0", "hello.txt")
	manager.Refused("oras", "push", "--plain-http", ref, "hello.txt")
	deploy.Refused("oras", "pull", "--plain-http", ref)
	wrong := clients.New(t)
	wrong.Login(s.host, "ci", "secret-of-manager")
	has(t, wrong.Refused("oras", "pull", "--plain-http", ref), "unauthorized")

	binDir := filepath.Dir(binary(t))
	for i, a := range attestations {
		ci.Run(filepath.Join(binDir, "sluice"), "attest", ref, "--type", a.predicateType, "--predicate", ci.File(fmt.Sprintf("p%d.json", i), now(a.predicate)), "--key", s.key())
	}
	has(t, ci.Refused(filepath.Join(binDir, "sluice"), "promote", ref, "--to", "stable"), "DENIED")
	manager.Run(filepath.Join(binDir, "sluice"), "promote", ref, "--to", "stable")
	deploy.Run("oras", "pull", "--plain-http", "-o", "out", s.host+"/stable/acme/app:1.0")
	ci.Refused("oras", "pull", "--plain-http", s.host+"/stable/acme/app:1.0")

	for path, status := range map[string]int{"/v2/": 401, "/api/v1/promotions": 401, "/": 401, "/healthz": 200, "/readyz": 200} {
		resp, err := http.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("GET %s without credentials: %s, want %d", path, resp.Status, status)
		}
	}
}
