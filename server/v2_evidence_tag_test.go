package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// What is kept under cosign's tags goes only with what it is about; a client is told so.
func TestEvidenceTags(t *testing.T) {
	f := newFixture(t, nil)
	subject := f.pushImage("dev/app", "1", "layer", "")
	tag := "/v2/dev/app/manifests/" + strings.Replace(subject.String(), ":", "-", 1) + ".att"
	att := func(note string) string { return image("layer", fmt.Sprintf(`,"annotations":{"note":"%s"}`, note)) }
	put := func(body string, status int, code string) {
		t.Helper()
		f.want(f.do("PUT", tag, strings.NewReader(body), "Content-Type", typeImage), status, code)
	}
	put(att("first"), 201, "")
	put(att("again"), 201, "") // holds the same layer
	put(image("{}", ""), 403, "DENIED")
	f.want(f.do("DELETE", tag, nil), 403, "DENIED")
	f.want(f.do("DELETE", "/v2/dev/app/manifests/"+digest.FromString(att("again")).String(), nil), 403, "DENIED")
	f.want(f.do("GET", tag, nil), 200, "")
	f.want(f.do("DELETE", "/v2/dev/app/manifests/"+subject.String(), nil), 202, "")
	f.want(f.do("DELETE", tag, nil), 202, "")
}
