package server

import (
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
		if len(got.header) != len(none.header) || len(got.body) != len(none.body) {
			t.Errorf("%s: got %v, want it like %v", name, got.header, none.header)
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
