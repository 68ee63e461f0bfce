package server

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"sluice.dev/sluice/oci"
)

// FuzzReadRequest checks that what gets through has the form that the engine may rely on.
func FuzzReadRequest(f *testing.F) {
	for _, seed := range []string{
		ask("acme/app", "1.0", "dev", "stable"), ask("a", "sha256:x", "dev", "stable"), `{"repository":"a","tags":["a","b"]}`,
		`{"repository":"a","repository":"b"}`, `null`, `{"tags":null,"to":"\u0000"}`, "{\"from\":\"\xff\"}", `{"repository":"a","reference":"1","from":"a/b","to":"c"}`,
	} {
		f.Add(seed, "")
	}
	f.Add(ask("acme/app", "1.0", "dev", "stable"), "x=1")
	s := &Server{}
	f.Fuzz(func(t *testing.T, body, rawQuery string) {
		r := httptest.NewRequest("POST", "/api/v1/promotions", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.URL.RawQuery = rawQuery
		request, err := s.readRequest(echo.New().NewContext(r, httptest.NewRecorder()))
		if err != nil {
			if status := lookup(err, false).status; status != 400 && status != 413 {
				t.Fatalf("%d for %q: %v", status, body, err)
			}
			return
		}
		if request.Reference == "" || oci.CheckName(request.From+"/"+request.Repository) != nil || strings.Contains(request.From+request.To, "/") {
			t.Fatalf("let through: %+v", request)
		}
		for _, tag := range request.Tags {
			if oci.CheckTag(tag) != nil {
				t.Fatalf("let through: tag %q", tag)
			}
		}
	})
}

func TestPrefersAsync(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "respond-async": true, "RESPOND-ASYNC": true, "wait=10, respond-async": true, "respond-async; x=1": true,
		"return=minimal": false, "respond-async=0x": false, "wait=\"respond-async\"": false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header.Set("Prefer", header)
		if got := prefersAsync(r); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
}

func TestPrefersYAML(t *testing.T) {
	for header, want := range map[string]bool{
		"": false, "*/*": false, "application/yaml": true, "application/json": false, "text/yaml, */*": true,
		"application/json, application/yaml": false, "application/yaml;q=0, */*": false, "application/yaml;q=0.5": true, "text/html": false, "\x00": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", header)
		if got := prefersYAML(r); got != want {
			t.Errorf("%q: got %v", header, got)
		}
	}
}
