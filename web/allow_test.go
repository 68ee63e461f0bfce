package web_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/web"
)

// allowing lets the caller see the repositories of tiers for which see is true.
func allowing(see func(tier, repository string) bool) func(*web.Config) {
	return func(c *web.Config) {
		c.Allow = func(_ *http.Request, tier, repository string) bool { return see(tier, repository) }
	}
}

// everywhere are pages on which something could leak.
func everywhere(s *store) []string {
	targets := []string{"/", "/promotions", "/promotions?state=Failed", "/policies"}
	for _, t := range s.tiers {
		targets = append(targets, "/tiers/"+t.Name)
	}
	return targets
}

func TestAllowRepository(t *testing.T) {
	s := sample()
	secret := s.release("secret/plans", "7.7", 2, true)
	s.tell("secret/plans", "7.7", secret, 2, 0)
	for i := range s.promotions {
		if s.promotions[i].Repository == "secret/plans" {
			s.promotions[i].ID = fmt.Sprintf("02SECRET%d", i)
		}
	}
	open := serve(t, s)
	wants(t, body(t, open, "/tiers/dev"), "secret/plans") // or the rest proves nothing

	h := serve(t, s, allowing(func(_, repository string) bool { return !strings.HasPrefix(repository, "secret/") }))
	for _, target := range everywhere(s) {
		page := body(t, h, target)
		lacks(t, page, "secret", "SECRET", secret.Encoded()[:12])
		if target != "/policies" && target != "/promotions?state=Failed" {
			wants(t, page, "acme/app")
		}
	}
	denied := []string{"/artifacts/dev/secret/plans", "/artifacts/dev/secret/plans:7.7", "/artifacts/release/secret/plans@" + secret.String()}
	for _, p := range s.promotions {
		if p.Repository == "secret/plans" {
			denied = append(denied, "/promotions/"+p.ID)
		}
	}
	for _, target := range denied {
		if w := get(open, target); w.Code != http.StatusOK {
			t.Errorf("%s without Allow: %d", target, w.Code)
		}
		w := get(h, target)
		if w.Code != http.StatusNotFound || w.Body.String() != get(h, "/artifacts/dev/nobody").Body.String() {
			t.Errorf("%s: %d, told apart from what does not exist", target, w.Code)
		}
	}
	lacks(t, body(t, h, "/promotions?repository=secret/plans"), "02SECRET", secret.Encoded()[:12])
}

func TestAllowTier(t *testing.T) {
	s := sample()
	h := serve(t, s, allowing(func(tier, _ string) bool { return tier != "release" }))
	p := risen(s)
	for _, target := range append(everywhere(s), "/artifacts/stable/acme/app", "/artifacts/stable/acme/app:1.4.0", "/promotions/"+p.ID) {
		page := body(t, h, target)
		lacks(t, page, "/artifacts/release/", "in release", p.Summary.Encoded()[:12])
	}
	wants(t, body(t, h, "/promotions/"+p.ID), "You may not see release.")
	if w := get(h, "/artifacts/release/acme/app:1.4.0"); w.Code != http.StatusNotFound {
		t.Errorf("release: %d", w.Code)
	}

	// Who sees the tier above alone is not told what was asked below.
	h = serve(t, s, allowing(func(tier, _ string) bool { return tier == "release" }))
	lacks(t, body(t, h, "/"), "1.5.0-rc1", "refused", "promoted")
	lacks(t, body(t, h, "/artifacts/release/acme/app:1.4.0"), "Its promotions", "/artifacts/stable/")
	if w := get(h, "/promotions/"+p.ID); w.Code != http.StatusNotFound {
		t.Errorf("the promotion: %d", w.Code)
	}
}

func TestAllowPolicy(t *testing.T) {
	s := sample()
	h := serve(t, s, func(c *web.Config) {
		c.AllowPolicy = func(_ *http.Request, name string) bool { return name != "dev-to-stable" }
	})
	lacks(t, body(t, h, "/policies"), "dev-to-stable")
	lacks(t, body(t, h, "/"), "dev-to-stable")
	lacks(t, body(t, h, "/promotions/"+refused(s).ID), `href="/policies/dev-to-stable"`)
	if w := get(h, "/policies/dev-to-stable"); w.Code != http.StatusNotFound {
		t.Errorf("the policy: %d", w.Code)
	}
	body(t, h, "/policies/stable-to-release")
}

// follow reads a list page by page and returns what matches on all of them, and the
// addresses of the next pages.
func follow(t *testing.T, h http.Handler, path string, item *regexp.Regexp) (items, cursors []string) {
	t.Helper()
	next := regexp.MustCompile(`<a rel="next" href="([^"]*)"`)
	for target := path; len(cursors) < 50; {
		page := body(t, h, target)
		for _, match := range item.FindAllStringSubmatch(page, -1) {
			items = append(items, match[1])
		}
		match := next.FindStringSubmatch(page)
		if match == nil {
			return items, cursors
		}
		cursors = append(cursors, match[1])
		path, _, _ := strings.Cut(path, "?")
		target = path + strings.ReplaceAll(match[1], "&amp;", "&")
	}
	t.Fatalf("%s has no end", path)
	return nil, nil
}

func TestRepositoryPages(t *testing.T) {
	s := newStore()
	body := image("one")
	for i := range 250 {
		s.push(fmt.Sprintf("dev/app-%03d", i), body, "1")
		s.push(fmt.Sprintf("dev/app-%03d-hidden", i), body, "1")
	}
	item := regexp.MustCompile(`<li><a href="/artifacts/dev/([^"]*)"`)
	items, cursors := follow(t, serve(t, s), "/tiers/dev", regexp.MustCompile(`<li><a href="/artifacts/dev/(app-\d+)"`))
	if len(items) != 250 || len(cursors) != 4 {
		t.Errorf("%d repositories on 1+%d pages", len(items), len(cursors))
	}
	h := serve(t, s, allowing(func(_, repository string) bool { return !strings.HasSuffix(repository, "hidden") }))
	items, cursors = follow(t, h, "/tiers/dev", item)
	if len(items) != 250 || len(cursors) != 2 || items[249] != "app-249" {
		t.Errorf("%d repositories on 1+%d pages", len(items), len(cursors))
	}
	lacks(t, strings.Join(append(items, cursors...), " "), "hidden")
}

// endless is a tier of very many repositories that only others may see.
type endless struct {
	*store
	reads *int
}

func (e endless) Repositories(_ context.Context, _, _ string, n int) ([]string, string, error) {
	*e.reads++
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("hidden-%06d", *e.reads*n+i)
	}
	return names, names[n-1], nil
}

func TestSearchEnds(t *testing.T) {
	reads := 0
	s := newStore()
	h := serve(t, s, allowing(func(_, _ string) bool { return false }), func(c *web.Config) { c.Registry = endless{s, &reads} })
	page := body(t, h, "/tiers/dev")
	wants(t, page, "The list ends here for its length.")
	lacks(t, page, "hidden-", `rel="next"`)
	if reads > 50 {
		t.Errorf("%d reads for one page", reads)
	}
}

func TestTagPages(t *testing.T) {
	s := newStore()
	for i := range 120 {
		s.push("dev/app", image(fmt.Sprint(i)), fmt.Sprintf("v%03d", i))
	}
	h := serve(t, s)
	item := regexp.MustCompile(`<td><a class="tag" href="/artifacts/dev/app:v(\d+)"`)
	first := body(t, h, "/artifacts/dev/app")
	wants(t, first, `href="?tags=v049"`, `href="?manifests=sha256`)
	second := body(t, h, "/artifacts/dev/app?tags=v049")
	tags := regexp.MustCompile(`(?s)id="tags".*id="manifests"`).FindString(second)
	if found := item.FindAllStringSubmatch(tags, -1); len(found) != 50 || found[0][1] != "050" {
		t.Errorf("%d tags on the second page", len(found))
	}
	wants(t, body(t, h, "/"), ":v099", "all tags")
}

func TestPromotionPages(t *testing.T) {
	s := newStore()
	s.push("dev/app", image("one"), "1")
	for i := range 260 {
		name := "app"
		if i%2 == 1 {
			name = "hidden"
		}
		s.promotions = append(s.promotions, promote.Promotion{ID: fmt.Sprintf("P%04d", 9999-i), State: promote.Failed, Repository: name, From: "dev", To: "stable"})
	}
	item := regexp.MustCompile(`href="/promotions/(P\d+)"`)
	if items, cursors := follow(t, serve(t, s), "/promotions", item); len(items) != 260 || len(cursors) != 5 {
		t.Errorf("%d promotions on 1+%d pages", len(items), len(cursors))
	}
	h := serve(t, s, allowing(func(_, repository string) bool { return repository == "app" }))
	if items, _ := follow(t, h, "/promotions?state=Failed", item); len(items) != 130 {
		t.Errorf("%d promotions that may be seen", len(items))
	}
}

func TestAttachmentTagsStayOffTheOverview(t *testing.T) {
	s := newStore()
	s.push("dev/app", image("one"), "1.0")
	fallback := "sha256-" + strings.Repeat("ab", 32)
	for _, tag := range []string{fallback, fallback + ".sig", fallback + ".att"} {
		s.push("dev/app", image("two"), tag)
	}
	page := body(t, serve(t, s), "/")
	wants(t, page, "/artifacts/dev/app:1.0")
	lacks(t, page, fallback)
	wants(t, body(t, serve(t, s), "/artifacts/dev/app"), fallback)
}
