package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tests/clients"
)

// now fills in the time of an attestation.
func now(predicate string) []byte {
	return []byte(strings.ReplaceAll(predicate, "%NOW%", time.Now().UTC().Format(time.RFC3339)))
}

// cosignJob has cosign attest in both of its formats, promotes, and has cosign accept the
// registry's summary.
func cosignJob(t *testing.T, s *server, api *http.Client) {
	for _, format := range []string{"bundle", "tag"} {
		t.Run(format, func(t *testing.T) {
			s := *s
			s.T = t
			h := clients.New(t)
			cosign := h.CosignWith(s.key(), strings.TrimSuffix(s.key(), ".key")+".pub")
			repository := "cosign/" + format
			digest := craneImage(t, h, s.host, repository, "1.0")
			ref := s.host + "/dev/" + repository + "@" + digest
			for i, a := range attestations {
				file := h.File(fmt.Sprintf("predicate-%d.json", i), now(a.predicate))
				if format == "bundle" {
					cosign.Attest(ref, a.predicateType, file)
				} else {
					cosign.AttestTag(ref, a.predicateType, file)
				}
			}
			if format == "bundle" {
				cosign.Sign(ref)
				cosign.VerifyAttestation(ref, "https://slsa.dev/provenance/v1")
			}
			for _, step := range [][2]string{{"dev", "stable"}, {"stable", "release"}} {
				s.run(0, "promote", s.host+"/"+step[0]+"/"+repository+":1.0", "--to", step[1])
				has(t, s.run(0, "verify", s.host+"/"+step[1]+"/"+repository+":1.0", "--key", s.summaryKey(h, api, step[1])), "PASSED")
				summary := h.CosignWith("", s.summaryKey(h, api, step[1]))
				has(t, summary.VerifyAttestation(s.host+"/"+step[1]+"/"+repository+"@"+digest, "https://slsa.dev/verification_summary/v1"), "payload")
			}
			// The key of one tier says nothing about another.
			stable := h.CosignWith("", s.summaryKey(h, api, "stable"))
			stable.VerifyAttestationRefused(s.host+"/release/"+repository+"@"+digest, "https://slsa.dev/none")
			s.run(1, "verify", s.host+"/release/"+repository+":1.0", "--key", s.summaryKey(h, api, "stable"))

			h.Run("crane", "validate", "--insecure", "--remote", s.host+"/release/"+repository+":1.0")
			if got := strings.TrimSpace(h.Run("crane", "digest", "--insecure", s.host+"/release/"+repository+":1.0")); got != digest {
				t.Errorf("release has %s, dev %s", got, digest)
			}
			if format == "bundle" {
				has(t, h.Run("oras", "discover", "--plain-http", "--format", "json", s.host+"/release/"+repository+":1.0"), "sigstore.bundle")
			} else {
				tag := strings.Replace(digest, ":", "-", 1) + ".att"
				has(t, h.Run("crane", "ls", "--insecure", s.host+"/release/"+repository), tag)
			}
			denied := cosign.AttestRefused(s.host+"/release/"+repository+"@"+digest, attestations[0].predicateType, h.File("late.json", now(provenance)))
			has(t, denied, "DENIED", "/dev/"+repository, "sluice promote")
		})
	}
}

// attest attaches what the sample policies ask for.
func (s *server) attest(h *clients.Home, ref string) {
	s.Helper()
	for i, a := range attestations {
		s.run(0, "attest", ref, "--type", a.predicateType, "--predicate", h.File(fmt.Sprintf("p%d.json", i), now(a.predicate)), "--key", s.key())
	}
}

// refusedJob tries every way to write to a tier that only promotion fills.
func refusedJob(t *testing.T, s *server, _ *http.Client) {
	h := clients.New(t)
	h.File("hello.txt", []byte("hello"))
	craneImage(t, h, s.host, "refused/app", "1.0")
	for _, tier := range []string{"stable", "release"} {
		has(t, h.Refused("oras", "push", "--plain-http", s.host+"/"+tier+"/refused/app:1.0", "hello.txt"), "sluice promote")
		h.Refused("crane", "copy", "--insecure", s.host+"/dev/refused/app:1.0", s.host+"/"+tier+"/refused/app:1.0")
		h.Refused("skopeo", "copy", "--all", "--src-tls-verify=false", "--dest-tls-verify=false",
			"docker://"+s.host+"/dev/refused/app:1.0", "docker://"+s.host+"/"+tier+"/refused/app:1.0")
	}
	d := "sha256:" + strings.Repeat("0", 64)
	for _, tier := range []string{"stable", "release"} {
		base := s.url + "/v2/" + tier + "/refused/app"
		for _, r := range []struct{ method, url string }{
			{"PUT", base + "/manifests/1.0"}, {"PUT", base + "/manifests/" + d}, {"DELETE", base + "/manifests/1.0"}, {"DELETE", base + "/manifests/" + d},
			{"POST", base + "/blobs/uploads/"}, {"POST", base + "/blobs/uploads/?digest=" + d}, {"POST", base + "/blobs/uploads/?mount=" + d + "&from=dev/refused/app"},
			{"PATCH", base + "/blobs/uploads/x"}, {"PUT", base + "/blobs/uploads/x?digest=" + d}, {"DELETE", base + "/blobs/uploads/x"}, {"DELETE", base + "/blobs/" + d},
		} {
			req, err := http.NewRequestWithContext(t.Context(), r.method, r.url, strings.NewReader("x"))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var answer struct {
				Errors []struct{ Code, Message string }
			}
			err = json.NewDecoder(resp.Body).Decode(&answer)
			resp.Body.Close()
			if err != nil || resp.StatusCode != 403 || len(answer.Errors) != 1 || answer.Errors[0].Code != "DENIED" || !strings.Contains(answer.Errors[0].Message, "sluice promote") {
				t.Errorf("%s %s: %s %+v %v, want 403 DENIED with the way in", r.method, r.url, resp.Status, answer, err)
			}
		}
	}
}

// verbsJob does the main job with the sluice command alone.
func verbsJob(t *testing.T, s *server, api *http.Client) {
	h := clients.New(t)
	digest := craneImage(t, h, s.host, "verbs/app", "2.0")
	ref := s.host + "/dev/verbs/app:2.0"
	has(t, s.run(3, "promote", ref, "--to", "stable"), "provenance", "sbom", "tested", "sluice attest")
	has(t, s.run(3, "promote", ref, "--to", "stable", "--dry-run"), "provenance")
	for i, a := range attestations {
		s.run(0, "attest", ref, "--type", a.predicateType, "--predicate", h.File(fmt.Sprintf("p%d.json", i), now(a.predicate)), "--key", s.key())
	}
	has(t, s.run(0, "evidence", ref), "https://slsa.dev/provenance/v1", "ci")
	has(t, s.run(0, "promote", ref, "--to", "stable", "--dry-run"), "provenance")
	s.run(0, "policy", "lint", strings.TrimSuffix(s.key(), "keys/ci.key")+"policies/stable.yaml")
	has(t, s.run(0, "policy", "test", strings.TrimSuffix(s.key(), "keys/ci.key")+"policies/stable.yaml", "--ref", ref), "tested")
	has(t, s.run(1, "promote", ref, "--to", "release"), "stable") // no tier is skipped
	var p struct {
		State, Digest, Summary string
		Moved                  struct{ Manifests, Copied, Streamed int }
	}
	out := s.run(0, "promote", ref, "--to", "stable", "-o", "json", "--reason", "because")
	if err := json.Unmarshal([]byte(out), &p); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	// Index, two images, three attestations, and the summary; server-side copies only.
	if p.State != "Succeeded" || p.Digest != digest || p.Summary == "" || p.Moved.Manifests != 7 || p.Moved.Streamed != 0 || p.Moved.Copied == 0 {
		t.Errorf("got %+v", p)
	}
	has(t, s.run(0, "status", s.host+"/verbs/app"), "dev", "stable", "release", "2.0")
	s.run(0, "promote", s.host+"/stable/verbs/app:2.0", "--to", "release", "--tag", "2.0", "--tag", "2")
	has(t, s.run(0, "verify", s.host+"/release/verbs/app:2", "--key", s.summaryKey(h, api, "release")), "PASSED")
	has(t, s.run(0, "ledger", "verify", "--registry", s.host), "promotions were verified")
	s.run(2, "promote", ref)
	s.run(2, "nonsense")
	s.run(1, "promote", s.host+"/dev/verbs/none:1", "--to", "stable")
}

// apiJob makes each call of the API and each of its errors; the client holds every answer
// against the OpenAPI document.
func apiJob(t *testing.T, s *server, api *http.Client) {
	h := clients.New(t)
	digest := craneImage(t, h, s.host, "api/app", "1.0")
	body := func(extra ...any) map[string]any {
		m := map[string]any{"repository": "api/app", "reference": "1.0", "from": "dev", "to": "stable"}
		for i := 0; i < len(extra); i += 2 {
			m[extra[i].(string)] = extra[i+1]
		}
		return m
	}
	var refused struct {
		Errors []struct {
			Code   string
			Detail struct{ ID, State string }
		}
	}
	s.call(api, "POST", "/api/v1/promotions", body(), 422, &refused)
	if len(refused.Errors) != 1 || refused.Errors[0].Code != "POLICY_VIOLATION" || refused.Errors[0].Detail.State != "Failed" {
		t.Errorf("got %+v", refused)
	}
	s.call(api, "GET", "/api/v1/promotions/"+refused.Errors[0].Detail.ID, nil, 200, nil)
	s.call(api, "POST", "/api/v1/evaluations", body(), 200, nil)
	s.call(api, "POST", "/api/v1/promotions", body("reference", "none"), 404, nil)
	s.call(api, "POST", "/api/v1/promotions", body("to", "release"), 400, nil)
	s.call(api, "POST", "/api/v1/promotions", body("from", "nowhere", "to", "nowhere"), 404, nil)
	s.call(api, "POST", "/api/v1/promotions", body("unknown", 1), 400, nil)
	for _, a := range attestations {
		s.run(0, "attest", s.host+"/dev/api/app@"+digest, "--type", a.predicateType, "--predicate", h.File("p.json", now(a.predicate)), "--key", s.key())
	}
	s.call(api, "POST", "/api/v1/evaluations", body(), 200, nil)
	var first, second struct{ ID, State string }
	s.call(api, "POST", "/api/v1/promotions", body("tags", []string{"1.0", "one"}), 201, &first)
	s.call(api, "POST", "/api/v1/promotions", body("tags", []string{"one", "1.0"}), 200, &second)
	if first.ID != second.ID || first.State != "Succeeded" {
		t.Errorf("got %+v and %+v, want the same promotion", first, second)
	}
	other := craneImage(t, h, s.host, "api/app", "2.0")
	for _, a := range attestations {
		s.run(0, "attest", s.host+"/dev/api/app@"+other, "--type", a.predicateType, "--predicate", h.File("p.json", now(a.predicate)), "--key", s.key())
	}
	s.call(api, "POST", "/api/v1/promotions", body("reference", "2.0", "tags", []string{"1.0"}), 409, nil)
	for _, path := range []string{
		"/api/v1/promotions?repository=api/app&to=stable&state=Succeeded&n=1", "/api/v1/promotions?n=2", "/api/v1/tiers",
		"/api/v1/tiers/dev/repositories?n=1", "/api/v1/tiers/dev/artifacts?repository=api/app&n=3", "/api/v1/tiers/stable/artifacts?repository=api/app",
		"/api/v1/tiers/dev/evidence?repository=api/app&digest=" + digest, "/api/v1/policies", "/api/v1/policies/dev-to-stable", "/api/v1/keys",
	} {
		s.call(api, "GET", path, nil, 200, nil)
	}
	for _, path := range []string{"/api/v1/promotions/none", "/api/v1/policies/none", "/api/v1/tiers/none/repositories", "/api/v1/none"} {
		s.call(api, "GET", path, nil, 404, nil)
	}
	for _, path := range []string{"/api/v1/promotions?n=0", "/api/v1/promotions?n=x", "/api/v1/tiers/dev/evidence?repository=api/app&digest=sha256:x"} {
		s.call(api, "GET", path, nil, 400, nil)
	}
	async(t, s, api)
}

// async asks for a promotion and does not wait for it.
func async(t *testing.T, s *server, api *http.Client) {
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/api/v1/promotions",
		strings.NewReader(`{"repository":"api/app","reference":"2.0","from":"dev","to":"stable"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Prefer", "respond-async")
	resp, err := api.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	location := resp.Header.Get("Location")
	if resp.StatusCode != 202 || !strings.HasPrefix(location, "/api/v1/promotions/") {
		t.Fatalf("got %s, Location %q, want 202 and where to look", resp.Status, location)
	}
	for range 200 {
		var p struct{ State string }
		s.call(api, "GET", location, nil, 200, &p)
		if p.State == "Succeeded" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the promotion did not succeed")
}
