package web_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/web"
)

// serve makes the pages of a store; change may alter the configuration.
func serve(t *testing.T, s *store, change ...func(*web.Config)) http.Handler {
	t.Helper()
	config := web.Config{Registry: s, Gate: s, Log: slog.New(slog.DiscardHandler), Now: now, Host: "registry.example.com"}
	for _, c := range change {
		c(&config)
	}
	h, err := web.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
	return w
}

// body asks for a page that must be there.
func body(t *testing.T, h http.Handler, target string) string {
	t.Helper()
	w := get(h, target)
	if w.Code != http.StatusOK {
		t.Fatalf("GET %s: %d", target, w.Code)
	}
	return w.Body.String()
}

func wants(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
}

func lacks(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			t.Errorf("the page holds %q", text)
		}
	}
}

// refused is the promotion of the sample that the policy said no to.
func refused(s *store) promote.Promotion { return s.promotions[0] }

// risen is the one that went into release.
func risen(s *store) promote.Promotion { return s.promotions[len(s.promotions)-1] }

func TestNewRefuses(t *testing.T) {
	s := sample()
	for _, config := range []web.Config{{}, {Registry: s, Gate: s}, {Registry: s, Log: slog.Default()}, {Gate: s, Log: slog.Default()}} {
		if _, err := web.New(config); err == nil {
			t.Errorf("%+v was taken", config)
		}
	}
}

func TestOverview(t *testing.T) {
	s := sample()
	page := body(t, serve(t, s), "/")
	wants(t, page,
		`<h2 id="tier-dev"><a href="/tiers/dev">dev</a></h2>`, `<h2 id="tier-release">`, "clients push here", "by promotion from stable",
		`aria-label="Gate from dev to stable"`, `href="/policies/dev-to-stable"`,
		`href="/artifacts/dev/acme/app:1.5.0-rc1"`, `href="/artifacts/stable/acme/app:1.4.1"`,
		"</span> refused</a>", "</span> in release</a>", "</span> not in stable</span>",
		"wants provenance, sbom, tested; 1 rule held; warned of scanned",
		`<time datetime="2026-11-22T10:21:05Z" title="22 Nov 2026 10:21:05 UTC">13 min ago</time>`)
	if strings.Index(page, `id="tier-dev"`) > strings.Index(page, `id="tier-stable"`) {
		t.Error("the tiers are not in order")
	}
	lacks(t, page, "<script", "style=", "http://", "https://")
}

func TestRefusedPromotion(t *testing.T) {
	s := sample()
	p := refused(s)
	page := body(t, serve(t, s), "/promotions/"+p.ID)
	wants(t, page, "The policy said no.", "1 of 5 held", "</span> not held</span> provenance", "</span> warned</span> scanned", p.Digest.String(),
		"no attestation https://slsa.dev/provenance/v1 by ci", "hotfix for the login page,\nplease hurry")
	for _, rule := range p.Verdict.Rules {
		if rule.Remedy != "" && !strings.Contains(html.UnescapeString(page), "<code>"+rule.Remedy+"</code>") {
			t.Errorf("the remedy of %s is missing", rule.Name)
		}
	}
	lacks(t, page, "What moved", "What stayed behind", "changed since")
}

func TestRisenPromotion(t *testing.T) {
	s := sample()
	p := risen(s)
	page := body(t, serve(t, s), "/promotions/"+p.ID)
	wants(t, page, "The policy was satisfied.", "What moved", `<dd title="78312448">74.7 MiB</dd>`, "/artifacts/release/acme/app@"+p.Summary.String(),
		"What stayed behind", "8 MiB, more than carry admits", "3 of 3 held")

	s.infos[1].Digest = digest.FromString("another")
	wants(t, body(t, serve(t, s), "/promotions/"+p.ID), "changed since")
	s.infos = s.infos[:1]
	wants(t, body(t, serve(t, s), "/promotions/"+p.ID), "no longer in force")
}

func TestUnfinishedPromotions(t *testing.T) {
	s := sample()
	s.promotions[0].State, s.promotions[0].Verdict = promote.Running, nil
	s.promotions[1].State, s.promotions[1].Verdict, s.promotions[1].Error = promote.Errored, nil, "the store did not answer in time"
	h := serve(t, s)
	wants(t, body(t, h, "/promotions/"+s.promotions[0].ID), "under way", "Not decided yet.")
	wants(t, body(t, h, "/promotions/"+s.promotions[1].ID), "undecided", "Nothing was let through.", "the store did not answer in time")
	wants(t, body(t, h, "/"), "under way", "the store did not answer in time")
}

// What is in quarantine says so, and why: on its page and where it is listed.
func TestQuarantined(t *testing.T) {
	s := sample()
	d, layer := refused(s).Digest, digest.FromString("layer")
	lacks(t, body(t, serve(t, s), "/artifacts/dev/acme/app:1.5.0-rc1"), "quarantine")
	s.held = map[digest.Digest]*tiers.Quarantine{d: {ID: "Q1", Digest: layer, Reason: "a <backdoor>", Owner: "security", CreatedAt: now(), ExpiresAt: now()}}
	page := body(t, serve(t, s), "/artifacts/dev/acme/app:1.5.0-rc1")
	wants(t, page, "</span> in quarantine</span>", "a &lt;backdoor&gt;", "was put in quarantine by security", "which it holds", layer.String(), "until <time")
	s.held[d].Digest, s.held[d].ExpiresAt = d, time.Time{}
	page = body(t, serve(t, s), "/artifacts/dev/acme/app:1.5.0-rc1")
	wants(t, page, "Nobody may pull it: it was put in quarantine")
	lacks(t, page, "which it holds", "until <time")
	wants(t, body(t, serve(t, s), "/artifacts/dev/acme/app"), `title="a &lt;backdoor&gt;"`, "</span> in quarantine</span>")
}

func TestArtifact(t *testing.T) {
	s := sample()
	d := refused(s).Digest
	h := serve(t, s)
	for _, target := range []string{"/artifacts/dev/acme/app:1.5.0-rc1", "/artifacts/dev/acme/app@" + d.String()} {
		page := body(t, h, target)
		wants(t, page, d.String(), "application/vnd.oci.image.index.v1&#43;json", "linux/amd64", "linux/arm64", "2 verified, 3 not",
			"SLSA provenance", "SPDX SBOM", "</span> verified</span>", "</span> not verified</span>", "</span> unsigned</span>",
			"the signature verifies with none of the keys", "nobody we know", `title="key `+keyID+`"`, "not here", "13 min ago",
			"--to stable --dry-run")
	}
	wants(t, body(t, h, "/artifacts/dev/acme/app:1.5.0-rc1"), "sluice promote registry.example.com/dev/acme/app:1.5.0-rc1 --to stable</code>")
	page := body(t, h, "/artifacts/stable/acme/app:1.4.0")
	wants(t, page, "here too", "/artifacts/release/acme/app@"+risen(s).Digest.String(), "</span> in release</a>")
	lacks(t, page, "sluice promote")

	attached := s.attached(d, provenance)
	page = body(t, h, "/artifacts/dev/acme/app@"+attached.String())
	wants(t, page, "Attached to", "/artifacts/dev/acme/app@"+d.String(), "<dd>attestation</dd>", "2 blobs")
	lacks(t, page, "sluice promote")
	wants(t, body(t, h, "/artifacts/dev/charts/app:0.3.1"), "<dd>Helm chart</dd>")
}

func TestEvidencePages(t *testing.T) {
	s := sample()
	d := refused(s).Digest
	for i := range 150 {
		s.evidence[d] = append(s.evidence[d], attest.Evidence{Manifest: digest.FromString(fmt.Sprint(i)), Subject: d, Format: attest.FormatBundle, PredicateType: "x/" + fmt.Sprint(i), Problem: "junk"})
	}
	h := serve(t, s)
	page := body(t, h, "/artifacts/dev/acme/app:1.5.0-rc1")
	if n := strings.Count(page, `data-label="signed by"`); n != 100 {
		t.Errorf("%d rows", n)
	}
	wants(t, page, "2 verified, 153 not", `href="?evidence=100"`, "</span> verified</span>")
	page = body(t, h, "/artifacts/dev/acme/app:1.5.0-rc1?evidence=100")
	if n := strings.Count(page, `data-label="signed by"`); n != 55 {
		t.Errorf("%d rows", n)
	}
	lacks(t, page, "</span> verified</span>", "more evidence")
	wants(t, body(t, h, "/artifacts/dev/acme/app:1.5.0-rc1?evidence=9999"), "No more evidence.")
	for _, bad := range []string{"-1", "x", "99999999999999999999"} {
		if w := get(h, "/artifacts/dev/acme/app:1.5.0-rc1?evidence="+bad); w.Code != http.StatusBadRequest {
			t.Errorf("evidence=%s: %d", bad, w.Code)
		}
	}
}

func TestPolicies(t *testing.T) {
	s := sample()
	h := serve(t, s)
	wants(t, body(t, h, "/policies"), `href="/policies/dev-to-stable"`, `href="/policies/stable-to-release"`)
	wants(t, body(t, h, "/policies/dev-to-stable"), "-----BEGIN PUBLIC KEY-----", "predicate.buildDefinition.buildType != &#39;&#39;", s.infos[0].Digest.String(), "19 Nov 2026 12:34:05 UTC")
}

// TestEveryLink follows every link from the first page on, as a person could.
func TestEveryLink(t *testing.T) {
	h := serve(t, sample())
	links := regexp.MustCompile(`(?:href|src)="([^"]*)"`)
	seen := map[string]bool{"/": true}
	for queue := []string{"/"}; len(queue) > 0; queue = queue[1:] {
		base, err := url.Parse(queue[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range links.FindAllStringSubmatch(body(t, h, queue[0]), -1) {
			link, err := base.Parse(html.UnescapeString(match[1]))
			if err != nil {
				t.Fatalf("%s: %v", match[1], err)
			}
			link.Fragment = ""
			if link.Host != "" {
				t.Errorf("%s points away: %s", queue[0], link)
			}
			if target := link.String(); !seen[target] && !strings.HasPrefix(target, "/api/") {
				seen[target] = true
				queue = append(queue, target)
			}
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d pages were found", len(seen))
	}
}

func TestEmptyRegistry(t *testing.T) {
	s := newStore()
	h := serve(t, s)
	wants(t, body(t, h, "/"), "Nothing here yet.", "crane push image.tar registry.example.com/dev/acme/app:1.0", "Nobody has asked", "no policy to show")
	wants(t, body(t, h, "/tiers/release"), "Nothing here yet.", "this is the top")
	wants(t, body(t, h, "/promotions"), "None yet.")
	wants(t, body(t, h, "/policies"), "No policy is in force")
	s.tiers = nil
	body(t, serve(t, s), "/")

	// A repository whose last manifest was deleted, and an artifact with nothing at all.
	s = newStore()
	s.push("dev/bare", image("bare"), "1")
	s.tags["dev/empty"], s.manifests["dev/empty"] = map[string]digest.Digest{}, map[digest.Digest][]byte{}
	s.promotions = []promote.Promotion{{ID: "1", From: "dev", To: "stable", Repository: "bare", Verdict: &policy.Verdict{}}}
	h = serve(t, s)
	wants(t, body(t, h, "/artifacts/dev/empty"), "No tags.", "No manifests.")
	wants(t, body(t, h, "/artifacts/dev/bare:1"), "Nothing is attached.")
	wants(t, body(t, h, "/promotions/1"), "The verdict has no rules.")
}

func TestMissing(t *testing.T) {
	s := sample()
	h := serve(t, s)
	hex := strings.Repeat("0a", 32)
	for _, target := range []string{
		"/nothing", "/favicon.ico", "/assets/style.css", "/assets/", "/tiers", "/tiers/", "/tiers/prod", "/tiers/dev/acme",
		"/artifacts", "/artifacts/dev", "/artifacts/dev/", "/artifacts/dev/nobody", "/artifacts/prod/acme/app", "/artifacts/dev/acme/app:9.9",
		"/artifacts/dev/acme/app@sha256:" + hex, "/artifacts/dev/acme/app@sha256:12", "/artifacts/dev/acme/app:", "/artifacts/dev/acme/app@",
		"/artifacts/dev/acme/app:1.4.0@sha256:" + hex, "/artifacts/dev/../../etc/passwd", "/artifacts/dev/%2e%2e/x", "/artifacts/dev/Acme", "/artifacts/dev//acme/app",
		"/artifacts/dev/a%00b", "/promotions/0", "/promotions/a/b", "/policies/none", "/policies/a/b", "//evil.example.com/",
	} {
		w := get(h, target)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "Nothing here") || w.Header().Get("Location") != "" {
			t.Errorf("%s: %d", target, w.Code)
		}
		if strings.Contains(target, "passwd") && strings.Contains(w.Body.String(), "passwd") {
			t.Error("the page repeats the address")
		}
	}
	for _, target := range []string{
		"/promotions?state=Odd", "/promotions?repository=Acme", "/promotions?to=prod", "/promotions?last=" + strings.Repeat("x", 600),
		"/tiers/dev?last=" + strings.Repeat("x", 600), "/artifacts/dev/acme/app?tags=" + strings.Repeat("x", 600),
	} {
		if w := get(h, target); w.Code != http.StatusBadRequest {
			t.Errorf("%.60s: %d", target, w.Code)
		}
	}
}

func TestMethods(t *testing.T) {
	s := sample()
	h := serve(t, s)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"} {
		for _, target := range []string{"/", "/promotions", "/nothing"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d, Allow %q", method, target, w.Code, w.Header().Get("Allow"))
			}
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodHead, "/", nil))
	if full := get(h, "/"); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") != fmt.Sprint(full.Body.Len()) {
		t.Errorf("HEAD: %d, %d bytes, length %s", w.Code, w.Body.Len(), w.Header().Get("Content-Length"))
	}
}

func TestHeaders(t *testing.T) {
	h := serve(t, sample())
	style := regexp.MustCompile(`/assets/style\.[0-9a-f]+\.css`).FindString(body(t, h, "/"))
	for _, target := range []string{"/", "/nothing", style} {
		header := get(h, target).Header()
		csp := header.Get("Content-Security-Policy")
		for _, directive := range []string{"default-src 'none'", "style-src 'self'", "img-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, directive) {
				t.Errorf("%s: the policy lacks %s", target, directive)
			}
		}
		if strings.Contains(csp, "unsafe") || strings.Contains(csp, "script-src") {
			t.Errorf("%s: %s", target, csp)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Referrer-Policy") != "no-referrer" || header.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %v", target, header)
		}
	}
	if w := get(h, style); w.Header().Get("Content-Type") != "text/css; charset=utf-8" || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("%s: %v", style, w.Header())
	}
	for target, want := range map[string]int{"/": http.StatusNotModified, style: http.StatusNotModified} {
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.Header.Set("If-None-Match", get(h, target).Header().Get("ETag"))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want || w.Body.Len() != 0 {
			t.Errorf("%s again: %d with %d bytes", target, w.Code, w.Body.Len())
		}
	}
	if get(h, "/nothing").Header().Get("ETag") != "" {
		t.Error("a failure is kept by browsers")
	}
}

func TestEscapes(t *testing.T) {
	const attack = `"><script>alert(1)</script><img src=x onerror=alert(1)>' javascript:alert(1) {{.}}`
	s := sample()
	d := refused(s).Digest
	p := &s.promotions[0]
	p.Reason, p.RequestedBy, p.Reference, p.Tags, p.Error = attack, attack, attack, []string{attack}, attack
	p.ID = "x/../" + attack
	p.Left = []promote.Left{{Digest: digest.Digest(attack), ArtifactType: attack, Reason: attack}}
	for i := range p.Verdict.Rules {
		r := &p.Verdict.Rules[i]
		r.Name, r.Message, r.Remedy, r.Mode = attack, attack, attack, attack
		r.Evidence = []policy.Used{{Digest: digest.Digest(attack), PredicateType: attack, Authority: attack, Signer: attack}}
	}
	p.Verdict.Policy = policy.Identity{Name: attack, Digest: digest.Digest(attack)}
	s.infos = append(s.infos, promote.PolicyInfo{Name: attack, Digest: digest.Digest(attack), From: "dev", To: "stable", SetBy: attack, Document: attack})
	s.evidence[d] = []attest.Evidence{{Manifest: digest.Digest(attack), Subject: digest.Digest(attack), Format: attack, PredicateType: attack, Problem: attack,
		Signers: []attest.Signer{{Authority: attack, KeyID: attack, Issuer: attack, Subject: attack}}}}
	h := serve(t, s, func(c *web.Config) { c.Actor = func(*http.Request) string { return attack } })
	for _, target := range []string{
		"/", "/promotions", "/promotions/" + url.PathEscape(p.ID), "/policies", "/policies/" + url.PathEscape(attack), "/artifacts/dev/acme/app@" + d.String(),
		"/artifacts/dev/acme/app", "/tiers/dev?last=" + url.QueryEscape(attack), "/promotions?repository=acme/app&state=Failed&last=" + url.QueryEscape("z"+attack),
	} {
		page := body(t, h, target)
		lacks(t, page, "<script", "<img", "onerror=alert(1)>", `href="javascript`, "ZgotmplZ")
	}
	wants(t, body(t, h, "/promotions/"+url.PathEscape(p.ID)), "&lt;script&gt;alert(1)&lt;/script&gt;")
}

func TestHiddenCharacters(t *testing.T) {
	s := sample()
	p := &s.promotions[0]
	p.Reason = "safe\u202egnp.exe\u200b\x1b[2J\u2028"
	p.Verdict.Rules[1].Message = strings.Repeat("é", 10_000)
	page := body(t, serve(t, s), "/promotions/"+p.ID)
	wants(t, page, `safe\u202egnp.exe\u200b\u001b[2J\u2028`)
	if n := strings.Count(page, "é"); n == 0 || n > 2048 {
		t.Errorf("%d of 10,000 letters", n)
	}
}

func TestFailures(t *testing.T) {
	tests := []struct {
		err    error
		status int
	}{
		{fmt.Errorf("list /secret/prefix: %w", oci.ErrUnavailable), http.StatusServiceUnavailable},
		{fmt.Errorf("secret: %w", context.DeadlineExceeded), http.StatusServiceUnavailable},
		{fmt.Errorf("secret: %w", oci.ErrUndecidable), http.StatusServiceUnavailable},
		{fmt.Errorf("secret: %w", oci.ErrCorrupt), http.StatusInternalServerError},
		{errors.New("secret"), http.StatusInternalServerError},
	}
	for _, tt := range tests {
		s := sample()
		s.err = tt.err
		var log bytes.Buffer
		h := serve(t, s, func(c *web.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
		for _, target := range []string{
			"/", "/tiers/dev", "/artifacts/dev/acme/app", "/artifacts/dev/acme/app:1.4.1", "/promotions", "/promotions/" + refused(s).ID, "/policies", "/policies/dev-to-stable",
		} {
			log.Reset()
			w := get(h, target)
			if w.Code != tt.status {
				t.Errorf("%s with %v: %d", target, tt.err, w.Code)
			}
			lacks(t, w.Body.String(), "secret")
			if n := strings.Count(log.String(), "page failed"); n != 1 || !strings.Contains(log.String(), "secret") {
				t.Errorf("%s: logged %q", target, log.String())
			}
		}
	}
}

func TestActor(t *testing.T) {
	h := serve(t, sample(), func(c *web.Config) { c.Actor = func(*http.Request) string { return "ana" } })
	wants(t, body(t, h, "/"), "Signed in as </span>ana")
	lacks(t, body(t, serve(t, sample()), "/"), "Signed in as")
}

// slow answers when the caller has given up.
type slow struct{ *store }

func (slow) Policies(ctx context.Context) ([]promote.PolicyInfo, error) {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) > time.Minute {
		return nil, errors.New("a page may take for ever")
	}
	return nil, context.DeadlineExceeded
}

func TestPagesEnd(t *testing.T) {
	h := serve(t, sample(), func(c *web.Config) { c.Gate = slow{sample()} })
	if w := get(h, "/policies"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// TestFailingWriter sees to it that a browser that goes away breaks nothing.
func TestFailingWriter(t *testing.T) {
	h := serve(t, sample())
	h.ServeHTTP(brokenWriter{header: http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := sample()
	s.err = context.Canceled
	var log bytes.Buffer
	h = serve(t, s, func(c *web.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
	if log.Len() > 0 {
		t.Errorf("a browser that went away was logged: %s", log.String())
	}
}

type brokenWriter struct{ header http.Header }

func (w brokenWriter) Header() http.Header     { return w.header }
func (brokenWriter) WriteHeader(int)           {}
func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
