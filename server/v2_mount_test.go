package server

import (
	"bytes"
	"maps"
	"net/http"
	"path"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestAnonymousMount mounts without a source: only what the caller could have pulled, and
// where there is none exactly as if the bytes were nowhere.
func TestAnonymousMount(t *testing.T) {
	f := newAuthFixture(t, nil)
	ci, other := f.as("ci"), f.as("other")
	secret := ci.push("dev/acme/secret", "secret")
	shared := ci.push("dev/acme/shared", "shared")
	f.promoted("stable", "acme/app", "1", "in another bucket")
	mount := "/v2/dev/other/app/blobs/uploads/?mount="

	none := other.want(other.do("POST", mount+zeros, nil), 202, "")
	for name, d := range map[string]digest.Digest{"not to be pulled": secret, "another store": digest.FromString("in another bucket")} {
		got := other.want(other.do("POST", mount+d.String(), nil), 202, "")
		if !maps.EqualFunc(unnamed(got.header), unnamed(none.header), slices.Equal[[]string]) || !bytes.Equal(got.body, none.body) {
			t.Errorf("%s: got %v %s, want it like %v %s", name, got.header, got.body, none.header, none.body)
		}
		other.wantNoBlob("dev/other/app", d)
	}
	got := other.want(other.do("POST", mount+shared.String(), nil), 201, "")
	if got.header.Get("Location") != "/v2/dev/other/app/blobs/"+shared.String() || got.header.Get("Docker-Content-Digest") != shared.String() {
		t.Errorf("got %v", got.header)
	}
	other.wantBlob("dev/other/app", "shared")
	// One that names a source gets that or none.
	other.want(other.do("POST", "/v2/dev/other/more/blobs/uploads/?from=dev/acme/none&mount="+shared.String(), nil), 202, "")
	other.want(other.do("POST", "/v2/dev/other/more/blobs/uploads/?from=&mount="+shared.String(), nil), 202, "")
	other.want(other.do("POST", "/v2/dev/acme/app/blobs/uploads/?mount="+shared.String(), nil), 403, "DENIED")
}

// unnamed is the header of a session without what any two sessions differ in.
func unnamed(header http.Header) http.Header {
	header = header.Clone()
	for _, name := range []string{"Date", headerRequestID, "Docker-Upload-UUID"} {
		header.Set(name, "")
	}
	header.Set("Location", path.Dir(header.Get("Location")))
	return header
}
