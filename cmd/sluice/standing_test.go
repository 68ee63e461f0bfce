package main

import (
	"cmp"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// asking is a policy that asks where the dependencies of builds stand.
func asking(t *testing.T) *policy.Policy {
	t.Helper()
	_, public, err := attest.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	text := "apiVersion: sluice.dev/v1alpha1\nkind: TierPolicy\nmetadata: {name: p}\nspec:\n  from: dev\n  to: stable\n  authorities: [{name: ci, key: {file: ci.pub}}]\n" +
		"  require: [{name: built, from: {authorities: [ci]}, provenance: {dependencies: {tier: stable}}}]\n"
	for name, content := range map[string][]byte{"ci.pub": public, "policy.yaml": []byte(text)} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pol, err := loadPolicy(file)
	if err != nil {
		t.Fatal(err)
	}
	return pol
}

// TestSurroundings: what a policy asks of the registry is found over its protocol, or the
// command says why not.
func TestSurroundings(t *testing.T) {
	pol := asking(t)
	base := digest.FromString("base")
	status := map[string]int{"/v2/stable/acme/base": http.StatusOK}
	c := answering(t, func(w http.ResponseWriter, r *http.Request) {
		name, _, isManifest := strings.Cut(r.URL.Path, "/manifests/")
		switch {
		case isManifest && status[name] == http.StatusOK:
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			w.Header().Set("Docker-Content-Digest", base.String())
			w.Header().Set("Content-Length", "2")
		case isManifest:
			w.WriteHeader(cmp.Or(status[name], http.StatusNotFound))
		case r.URL.Path == "/api/v1/tiers" && status["tiers"] == 0:
			writeJSON(t, w, map[string]any{"tiers": []tierInfo{{Name: "dev"}, {Name: "stable", From: "dev"}}})
		case r.URL.Path == "/api/v1/keys" && status["keys"] == 0:
			writeJSON(t, w, map[string]any{"keys": []map[string]string{{"verifierId": "https://registry.example.com/tiers/stable"}, {"use": "ledger"}}})
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	})
	facts := func() policy.Facts {
		predicate := map[string]any{
			"runDetails": map[string]any{"builder": map[string]any{"id": "b"}},
			"buildDefinition": map[string]any{"buildType": "t", "resolvedDependencies": []any{
				map[string]any{"uri": "registry.example.com/dev/acme/base@" + base.String()},
				map[string]any{"uri": "oci://" + c.host + "/dev/acme/gone@" + base.String()}}},
		}
		return policy.Facts{Evidence: []attest.Evidence{{PredicateType: typeProvenance, Signers: []attest.Signer{{Authority: "ci"}}, Statement: map[string]any{"predicate": predicate}}}}
	}
	got := facts()
	if err := c.surroundings(t.Context(), pol, &got); err != nil {
		t.Fatal(err)
	}
	want := map[policy.Dependency][]string{{Repository: "acme/base", Digest: base}: {"stable"}, {Repository: "acme/gone", Digest: base}: {}}
	if !reflect.DeepEqual(got.Standing, want) || len(got.Registry.Hosts) != 2 || got.Registry.Tiers["stable"] != "dev" {
		t.Errorf("got %+v, %+v", got.Standing, got.Registry)
	}
	for key, text := range map[string]string{"tiers": "tiers cannot be listed", "keys": "own name cannot be found out", "/v2/dev/acme/base": "dependency dev/acme/base@"} {
		status[key] = http.StatusForbidden
		again := facts()
		if err := c.surroundings(t.Context(), pol, &again); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%s: %v", key, err)
		}
		delete(status, key)
	}
}
