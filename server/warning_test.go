package server

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// warnValue is warn-code, warn-agent and warn-text as the distribution spec has them.
var warnValue = regexp.MustCompile(`^299 - "(?:[ !#-\[\]-~]|\\["\\])*"$`)

func TestWarnings(t *testing.T) {
	f := newFixture(t, nil)
	subject := f.pushImage("dev/app", "1", "layer", "")
	config := fmt.Sprintf(`{"mediaType":"a/b","digest":"%s","size":2}`, digest.FromString("{}"))
	foreign := `{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip","digest":"` + zeros + `","size":9}`
	docker := "application/vnd.docker.distribution.manifest.v2+json"
	artifact := "application/vnd.oci.artifact.manifest.v1+json"
	fallback := "sha256-" + subject.Encoded()
	long := "sha512-" + digest.SHA512.FromString("x").Encoded()[:64]
	for _, tt := range []struct{ name, tag, mediaType, body, want string }{
		{"image", "v1", typeImage, image("layer", ""), ""},
		{"artifact manifest", "v1", artifact, `{"mediaType":"` + artifact + `","artifactType":"a/b","blobs":[` + config + `]}`, "withdrawn"},
		{"non-distributable layer", "v1", typeImage, `{"schemaVersion":2,"config":` + config + `,"layers":[` + config + `,` + foreign + `]}`, "1 of 2 layers"},
		{"docker's foreign layer", "v1", docker, `{"schemaVersion":2,"mediaType":"` + docker + `","config":` + config + `,"layers":[` +
			strings.Replace(foreign, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 1) + `]}`, "1 of 1 layers"},
		{"fallback tag of an image", fallback, typeImage, image("layer", ""), fallback},
		{"fallback tag of a long digest", long, typeImage, image("layer", ""), long},
		{"fallback tag of an index", fallback, typeIndex, `{"schemaVersion":2,"manifests":[]}`, ""},
		{"cosign's tag", fallback + ".sig", typeImage, image("layer", ""), ""},
		{"half a digest", fallback[:40], typeImage, image("layer", ""), ""},
		{"subject that is here", "v2", typeImage, image("layer", about(subject)), ""},
		{"subject that is not", "v2", typeImage, image("layer", about(zeros)), zeros + " is not in dev/app"},
	} {
		got := f.want(f.do("PUT", "/v2/dev/app/manifests/"+tt.tag, strings.NewReader(tt.body), "Content-Type", tt.mediaType), 201, "")
		warnings := got.header.Values("Warning")
		if (tt.want != "") != (len(warnings) == 1) {
			t.Errorf("%s: got %q, want %q", tt.name, warnings, tt.want)
			continue
		}
		for _, w := range warnings {
			if !warnValue.MatchString(w) || !strings.Contains(w, tt.want) {
				t.Errorf("%s: got %s, want %q in it", tt.name, w, tt.want)
			}
		}
	}
	refused := f.do("PUT", "/v2/dev/app/manifests/"+fallback, strings.NewReader("{}"), "Content-Type", typeImage)
	if f.want(refused, 400, "MANIFEST_INVALID"); refused.header.Get("Warning") != "" {
		t.Errorf("a refusal warns: %v", refused.header)
	}
}

func TestWarnQuotesAndIsBounded(t *testing.T) {
	header := http.Header{}
	warn(header, "say \"no\" to \\ and\r\nX: ü\x00")
	if got := header.Get("Warning"); got != `299 - "say \"no\" to \\ and??X: ??"` {
		t.Errorf("got %s", got)
	}
	for range 100 {
		warn(header, strings.Repeat(`"`, 100))
	}
	warn(header, strings.Repeat("x", maxWarnings))
	size := 0
	for _, w := range header.Values("Warning") {
		if size += len(w); !warnValue.MatchString(w) {
			t.Errorf("got %s", w)
		}
	}
	if size > maxWarnings || size < maxWarnings-300 {
		t.Errorf("warnings have %d bytes together", size)
	}
}
