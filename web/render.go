package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

// layoutView is what every page has around its body.
type layoutView struct {
	Title   string
	Section string
	Assets  assetLinks
	Actor   string
	Tiers   []string
	Body    any
}

// loadTemplates makes one template set for each page: the layout, the parts that pages
// share, and the page.
func (h *handler) loadTemplates() error {
	shared, err := template.New("layout").Funcs(h.functions()).ParseFS(embedded, "templates/layout.html", "templates/parts.html")
	if err != nil {
		return err
	}
	files, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		return err
	}
	h.pages = map[string]*template.Template{}
	for _, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "layout" || name == "parts" {
			continue
		}
		page, err := shared.Clone()
		if err != nil {
			return err
		}
		if h.pages[name], err = page.ParseFS(embedded, file); err != nil {
			return err
		}
	}
	return nil
}

// write renders the whole page before the first byte goes out, so that a template that
// fails halfway is a page with status 500 and not the half of another.
func (q *query) write(w http.ResponseWriter, page result) {
	body, err := q.render(page)
	if err != nil {
		q.Log.ErrorContext(q.r.Context(), "template failed", "path", q.r.URL.Path, "template", page.template, "error", err)
		http.Error(w, "Something went wrong; the cause is in the server's log.", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/html; charset=utf-8")
	header.Set("Cache-Control", "private, no-cache") // keep, but ask every time
	if page.status == 0 {
		page.status = http.StatusOK
		sum := sha256.Sum256(body)
		etag := `"` + hex.EncodeToString(sum[:16]) + `"`
		header.Set("ETag", etag)
		if strings.Contains(q.r.Header.Get("If-None-Match"), etag) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	if page.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(page.status)
	if q.r.Method == http.MethodHead {
		return
	}
	if _, err := w.Write(body); err != nil {
		q.Log.DebugContext(q.r.Context(), "page not delivered", "path", q.r.URL.Path, "error", err)
	}
}

func (q *query) render(page result) ([]byte, error) {
	t, ok := q.pages[page.template]
	if !ok {
		return nil, fmt.Errorf("no template %q", page.template)
	}
	view := layoutView{Title: page.title, Section: page.section, Assets: q.links, Body: page.body}
	if q.Actor != nil {
		view.Actor = q.Actor(q.r)
	}
	for _, t := range q.Registry.Tiers() {
		view.Tiers = append(view.Tiers, t.Name)
	}
	var buf bytes.Buffer
	if err := t.ExecuteTemplate(&buf, "layout", view); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
