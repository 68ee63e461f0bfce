package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"sluice.dev/sluice/promote"
)

// withUsers gives each user, whose password is the name, a grant.
func withUsers(t *testing.T, grants ...Grant) func(*Config) {
	t.Helper()
	var lines strings.Builder
	seen := map[string]bool{}
	for _, g := range append(grants, Grant{Users: []string{"nobody"}}) {
		for _, user := range g.Users {
			if user == Anonymous || user == Everyone || seen[user] {
				continue
			}
			seen[user] = true
			hash, err := bcrypt.GenerateFromPassword([]byte(user), bcrypt.MinCost)
			if err != nil {
				t.Fatal(err)
			}
			lines.WriteString(user + ":" + string(hash) + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	auth, err := NewAuth(AuthConfig{Htpasswd: file, Grants: grants})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) { c.Auth = auth }
}

// TestAPIAccess asks for everything as users who may do little.
func TestAPIAccess(t *testing.T) {
	acme := []string{"acme/**"}
	a := newAPI(t, withUsers(t,
		Grant{Users: []string{"ci"}, Tiers: []string{"dev"}, Actions: []Action{ActionPull, ActionPush}},
		Grant{Users: []string{"manager"}, Repositories: acme, Actions: []Action{ActionPull, ActionPromote}},
		Grant{Users: []string{"deploy"}, Tiers: []string{"stable", "release"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"reader"}, Actions: []Action{ActionPull}},
		Grant{Users: []string{"lawyer"}, Tiers: []string{"stable"}, Actions: []Action{ActionPolicy}},
		Grant{Users: []string{"clerk"}, Repositories: acme, Actions: []Action{ActionPolicy}},
	))
	a.user = "ci:ci"
	d := a.pushImage("dev/acme/app", "1.0", "layer", "")
	a.pushImage("dev/acme/web", "1.0", "web", "")
	a.pushImage("dev/beta/app", "1.0", "beta", "")
	a.provenance("acme/app", d)
	promotion, evaluation := ask("acme/app", "1.0", "dev", "stable"), ask("beta/app", "1.0", "dev", "stable")
	evidence := "/api/v1/tiers/dev/evidence?repository=acme/app&digest=" + d.String()

	tests := []struct {
		user, method, path, body string
		status                   int
	}{
		{"", "POST", "/api/v1/promotions", promotion, 401},
		{"ci", "POST", "/api/v1/promotions", promotion, 403},      // may not promote
		{"reader", "POST", "/api/v1/promotions", promotion, 403},  // wherever it is to
		{"lawyer", "POST", "/api/v1/promotions", promotion, 403},  // may not pull
		{"deploy", "POST", "/api/v1/promotions", promotion, 403},  // may not pull in dev
		{"deploy", "POST", "/api/v1/evaluations", promotion, 403}, // nor have it evaluated
		{"manager", "POST", "/api/v1/promotions", evaluation, 403},
		{"manager", "POST", "/api/v1/promotions", ask("acme/app", "1.0", "dev", "nowhere"), 404},
		{"deploy", "POST", "/api/v1/promotions", ask("acme/app", "1.0", "nowhere", "stable"), 403}, // not even that there is none
		{"ci", "POST", "/api/v1/evaluations", evaluation, 200},
		{"manager", "POST", "/api/v1/promotions", promotion, 201},
		{"manager", "POST", "/api/v1/promotions", ask("acme/web", "1.0", "dev", "stable"), 422},
		{"", "GET", "/api/v1/promotions", "", 401},
		{"nobody", "GET", "/api/v1/promotions", "", 403},
		{"", "GET", "/api/v1/tiers", "", 401},
		{"lawyer", "GET", "/api/v1/tiers", "", 200},
		{"", "GET", "/api/v1/tiers/dev/repositories", "", 401},
		{"", "GET", "/api/v1/tiers/dev/artifacts?repository=acme/app", "", 401},
		{"deploy", "GET", "/api/v1/tiers/dev/artifacts?repository=acme/app", "", 403},
		{"deploy", "GET", "/api/v1/tiers/dev/artifacts?repository=acme/none", "", 403},
		{"deploy", "GET", evidence, "", 403},
		{"", "GET", evidence, "", 401},
		{"ci", "GET", evidence, "", 200},
		{"", "GET", "/api/v1/policies", "", 401},
		{"deploy", "GET", aPolicy, "", 200},
		{"", "PUT", aPolicy, a.policy("dev-to-stable", "dev", "stable"), 401},
		{"manager", "PUT", aPolicy, a.policy("dev-to-stable", "dev", "stable"), 403},
		{"clerk", "PUT", aPolicy, a.policy("dev-to-stable", "dev", "stable"), 403}, // only for some repositories
		{"lawyer", "PUT", aPolicy, a.policy("dev-to-stable", "dev", "stable"), 200},
		{"lawyer", "PUT", "/api/v1/policies/stable-to-release", a.policy("stable-to-release", "stable", "release"), 403},
		{"lawyer", "PUT", "/api/v1/policies/stable-to-release", a.policy("stable-to-release", "dev", "stable"), 403}, // it is another tier's
		{"", "GET", "/api/v1/keys", "", 200},
		{"", "GET", "/api/v1/openapi.json", "", 200},
		{"", "GET", "/healthz", "", 200},
		{"", "GET", "/readyz", "", 200},
		{"", "GET", "/metrics", "", 200},
		{"", "GET", "/api/v1/nothing", "", 404},
	}
	for _, tt := range tests {
		t.Run(tt.user+" "+tt.method+" "+tt.path, func(t *testing.T) {
			a.user = ""
			if tt.user != "" {
				a.user = tt.user + ":" + tt.user
			}
			var headers []string
			if tt.method == "POST" {
				headers = []string{"Content-Type", "application/json"}
			}
			got := a.call(tt.method, tt.path, tt.body, headers...)
			if code := map[int]string{401: "UNAUTHORIZED", 403: "DENIED"}[got.status]; got.status != tt.status || code != "" && got.code() != code {
				t.Errorf("got %d %s, want %d\n%s", got.status, got.code(), tt.status, got.body)
			}
		})
	}
	a.user = "ci:wrong"
	a.want(a.call("GET", "/api/v1/keys", ""), 401, "UNAUTHORIZED")
	a.listsAreFiltered()
}

// listsAreFiltered has each user look at what there is after acme/app rose to stable and
// acme/web was refused.
func (a *apiFixture) listsAreFiltered() {
	a.Helper()
	a.user = "ci:ci"
	all := get[promotionList](a, "/api/v1/promotions").Promotions
	var done promote.Promotion
	for _, p := range all {
		if p.State == promote.Succeeded {
			done = p
		}
	}
	for user, want := range map[string]struct {
		promotions, status int // how many, and of asking for the one that is done
		dev, stable        string
	}{
		"ci":      {2, 200, "acme/app acme/web beta/app", ""},
		"manager": {2, 200, "acme/app acme/web", "acme/app"},
		"deploy":  {1, 200, "", "acme/app"}, // of the refusal it sees nothing
		"lawyer":  {0, 404, "", ""},
	} {
		a.user = user + ":" + user
		if got := get[promotionList](a, "/api/v1/promotions").Promotions; len(got) != want.promotions {
			a.Errorf("%s sees %d promotions, want %d", user, len(got), want.promotions)
		}
		if got := a.call("GET", "/api/v1/promotions/"+done.ID, ""); got.status != want.status || strings.Contains(string(got.body), "acme") != (want.status == 200) {
			a.Errorf("%s: got %d %s, want %d", user, got.status, got.body, want.status)
		}
		for tier, names := range map[string]string{"dev": want.dev, "stable": want.stable} {
			got := get[struct{ Repositories []string }](a, "/api/v1/tiers/"+tier+"/repositories").Repositories
			if s := strings.Join(got, " "); s != names {
				a.Errorf("%s sees %q in %s, want %q", user, s, tier, names)
			}
		}
	}
}
