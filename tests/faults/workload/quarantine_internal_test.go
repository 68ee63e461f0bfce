package workload

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// A registry that gives away what is in quarantine, or has it rise, is noticed, and one that
// does neither is not.
func TestHold(t *testing.T) {
	for name, c := range map[string]struct {
		pull, promotion int
		wrong           bool
	}{
		"refuses":     {http.StatusForbidden, http.StatusUnprocessableEntity, false},
		"gives away":  {http.StatusOK, http.StatusUnprocessableEntity, true},
		"knows not":   {http.StatusNotFound, http.StatusUnprocessableEntity, true},
		"has it rise": {http.StatusForbidden, http.StatusCreated, true},
	} {
		t.Run(name, func(t *testing.T) {
			journal, err := NewJournal(filepath.Join(t.TempDir(), "journal.jsonl"), io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			defer journal.Close()
			image := &Image{Repository: "alice/r0", Body: []byte("{}"), Tag: "v1", rose: map[string]bool{},
				evidence: map[string]evidence{"": {begun: true}, Provenance: {begun: true, done: 1}}}
			image.Desc.Digest = digest.FromString("{}")
			held := false
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status, body := c.pull, "{}"
				state, allowed := "Failed", false
				if c.promotion == http.StatusCreated {
					state, allowed = "Succeeded", true
				}
				promotion := fmt.Sprintf(`{"id":"P","state":%q,"digest":%q,"from":"dev","to":"stable","verdict":{"allowed":%v}}`, state, image.Desc.Digest, allowed)
				switch {
				case r.URL.Path == pathQuarantines:
					status, held = http.StatusCreated, true
				case strings.HasPrefix(r.URL.Path, pathQuarantines):
					status, held = http.StatusOK, false
				case r.URL.Path == "/api/v1/promotions" && state == "Failed":
					status, body = c.promotion, `{"errors":[{"code":"POLICY_VIOLATION","message":"no","detail":`+promotion+`}]}`
				case strings.HasPrefix(r.URL.Path, "/api/v1/promotions"):
					status, body = c.promotion, promotion
				case !held:
					status = http.StatusOK
				}
				w.Header().Set("Docker-Content-Digest", image.Desc.Digest.String())
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body) // of HEAD nothing is sent
			}))
			defer server.Close()
			client := NewClient(4, 1, "alice", Setting{URLs: []string{server.URL}}, journal)
			defer client.Close()
			if end := client.hold(t.Context(), image, image.Desc.Digest); end != "done" {
				t.Errorf("it ended: %s", end)
			}
			if found := journal.Violations(); (len(found) > 0) != c.wrong {
				t.Errorf("found %q", found)
			}
		})
	}
}
