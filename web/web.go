package web

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"sluice.dev/sluice/oci"
)

// Config makes the pages.
type Config struct {
	Registry Registry
	Gate     Gate
	Log      *slog.Logger
	// Host is how people address the registry in commands, registry.example.com: it is
	// configured, never taken from a request. Empty: the word HOST stands in its place.
	Host string
	// Allow says whether the caller may see a repository of a tier. A promotion is shown
	// to those who may see the repository in the tier that it rises from, and what it
	// made in the tier above to those who may see that too. Nil: everybody may see
	// everything. It is asked for every line of a list, so it should not do I/O.
	Allow func(r *http.Request, tier, repository string) bool
	// AllowPolicy says whether the caller may read a policy. Nil: everybody may.
	AllowPolicy func(r *http.Request, name string) bool
	// Actor names the caller in the page's header; nil or empty shows nothing.
	Actor func(r *http.Request) string
	Now   func() time.Time // time.Now where nil
}

// pageTimeout bounds how long the stores may take over one page; nobody waits longer.
const pageTimeout = 20 * time.Second

type handler struct {
	Config
	pages  map[string]*template.Template
	assets map[string]asset // by path
	links  assetLinks
}

// New checks the configuration, parses the templates and returns the handler of /,
// /tiers/, /artifacts/, /promotions, /policies and /assets/. Whatever else it is asked
// for is answered by a page with status 404.
func New(config Config) (http.Handler, error) {
	if config.Registry == nil || config.Gate == nil || config.Log == nil {
		return nil, errors.New("web: a registry, a gate and a logger are needed")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Host == "" {
		config.Host = "HOST"
	}
	h := &handler{Config: config}
	if err := h.loadAssets(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	if err := h.loadTemplates(); err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	return h, nil
}

// query is one request for a page.
type query struct {
	*handler
	r *http.Request
}

// result is a page to be rendered.
type result struct {
	template string
	title    string
	section  string // the entry of the navigation that it belongs to
	status   int
	body     any
}

// ServeHTTP answers with a page, an asset, or a page that says why not.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure(w.Header())
	q := &query{handler: h, r: r}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		q.write(w, failure(http.StatusMethodNotAllowed))
		return
	}
	if a, ok := h.assets[r.URL.Path]; ok {
		a.serve(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	q.r = r.WithContext(ctx)
	page, err := q.page()
	if err != nil {
		page = q.explain(err)
	}
	q.write(w, page)
}

// secure sets the headers that hold for every answer: nothing may run, be framed, or be
// loaded from elsewhere.
func secure(header http.Header) {
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// page finds the page that the path names. Repository names hold slashes and no other
// part of a path does, so paths are taken apart here and not by patterns.
func (q *query) page() (result, error) {
	path := strings.TrimSuffix(strings.TrimPrefix(q.r.URL.Path, "/"), "/")
	section, rest, _ := strings.Cut(path, "/")
	switch {
	case path == "":
		return q.overview()
	case section == "tiers" && rest != "":
		return q.tier(rest)
	case section == "artifacts":
		tier, name := oci.SplitTier(rest)
		repository, reference, err := splitReference(name)
		if err != nil {
			return result{}, err
		}
		if reference == "" {
			return q.repository(tier, repository)
		}
		return q.artifact(tier, repository, reference)
	case path == "promotions":
		return q.promotionList()
	case section == "promotions":
		return q.promotion(rest)
	case path == "policies":
		return q.policyList()
	case section == "policies":
		return q.policy(rest)
	}
	return result{}, errNoPage
}

// splitReference takes "acme/app:1.0" or "acme/app@sha256:…" apart; the reference is
// empty where there is none. The error wraps a sentinel of package oci.
func splitReference(name string) (repository, reference string, err error) {
	repository, reference, isDigest := strings.Cut(name, "@")
	isTag := false
	if !isDigest {
		repository, reference, isTag = strings.Cut(name, ":")
	}
	if err := oci.CheckName(repository); err != nil {
		return "", "", err
	}
	switch {
	case isDigest:
		_, err = oci.ParseDigest(reference)
	case isTag:
		err = oci.CheckTag(reference)
	}
	return repository, reference, err
}

// sees says whether the caller may see a repository of a tier.
func (q *query) sees(tier, repository string) bool {
	return q.Allow == nil || q.Allow(q.r, tier, repository)
}

// readsPolicy says whether the caller may read a policy.
func (q *query) readsPolicy(name string) bool {
	return q.AllowPolicy == nil || q.AllowPolicy(q.r, name)
}
