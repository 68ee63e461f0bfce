package server

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
)

func TestBlobSizeLimit(t *testing.T) {
	f := newFixture(t, nil, tiers.Limits{BlobSize: 10})
	eleven := "01234567890"
	d := digest.FromString(eleven)
	f.want(f.do("POST", "/v2/dev/app/blobs/uploads/?digest="+d.String(), strings.NewReader(eleven)), 413, "SIZE_INVALID")
	f.want(f.do("PUT", f.begin("dev/app")+"?digest="+d.String(), unknownLength(eleven)), 413, "SIZE_INVALID")
	at := f.begin("dev/app")
	f.want(f.do("PATCH", at, strings.NewReader(eleven[:9])), 202, "")
	f.want(f.do("PATCH", at, unknownLength("90")), 413, "SIZE_INVALID")
	f.want(f.do("PATCH", at, strings.NewReader("90")), 413, "SIZE_INVALID")
	f.want(f.do("PATCH", at, strings.NewReader("9")), 202, "")
	f.want(f.do("PUT", at+"?digest="+d.String(), strings.NewReader("0")), 413, "SIZE_INVALID") // one more with the end
	for range 2 {
		f.want(f.do("PUT", at+"?digest="+digest.FromString(eleven[:10]).String(), nil), 201, "")
	}
}

func TestDeleteSwitchedOff(t *testing.T) {
	f := newFixture(t, nil, tiers.Limits{NoDelete: true})
	d := f.pushImage("dev/app", "1", "layer", "")
	f.exchanges(t, []exchange{
		{"tag", "DELETE", "/v2/dev/app/manifests/1", "", nil, 405, "UNSUPPORTED", ""},
		{"manifest", "DELETE", "/v2/dev/app/manifests/" + d.String(), "", nil, 405, "UNSUPPORTED", ""},
		{"blob", "DELETE", "/v2/dev/app/blobs/" + digest.FromString("layer").String(), "", nil, 405, "UNSUPPORTED", ""},
		{"upload", "DELETE", f.begin("dev/app"), "", nil, 204, "", ""},
	})
}

func TestManifestSizeLimit(t *testing.T) {
	body := image("layer", "")
	f := newFixture(t, nil, tiers.Limits{ManifestSize: int64(len(body))})
	d := f.pushImage("dev/app", "1", "layer", "")
	put := func(body io.Reader) reply {
		t.Helper()
		return f.want(f.do("PUT", "/v2/dev/app/manifests/2", body, "Content-Type", typeImage), 413, "SIZE_INVALID")
	}
	if got := put(strings.NewReader(body + " ")); !strings.Contains(string(got.body), fmt.Sprintf("at most %d are allowed", len(body))) {
		t.Errorf("it was read before it was refused: %s", got.body)
	}
	put(unknownLength(body + " "))
	f.want(f.do("GET", "/v2/dev/app/manifests/2", nil), 404, "MANIFEST_UNKNOWN")
	f.want(f.do("GET", "/v2/dev/app/manifests/"+d.String(), nil), 200, "")
}

// What is under a longer name since before the limit can be read and deleted.
func TestNameLengthLimit(t *testing.T) {
	f := newFixture(t, nil, tiers.Limits{NameLength: 8})
	long := f.promoted("dev", "acme/long", "1", "layer") // past the limit, as before it
	f.pushImage("dev/acme/app", "1", "layer", "")
	d := digest.FromString("layer").String()
	f.exchanges(t, []exchange{
		{"session", "POST", "/v2/dev/acme/long/blobs/uploads/", "", nil, 400, "NAME_INVALID", `at most 8`},
		{"blob", "POST", "/v2/dev/acme/long/blobs/uploads/?digest=" + digest.FromString("x").String(), "x", nil, 400, "NAME_INVALID", ""},
		{"mount", "POST", "/v2/dev/acme/long/blobs/uploads/?mount=" + d + "&from=dev/acme/app", "", nil, 400, "NAME_INVALID", ""},
		{"manifest", "PUT", "/v2/dev/acme/long/manifests/2", image("layer", ""), []string{"Content-Type", typeImage}, 400, "NAME_INVALID", ""},
		{"pull", "GET", "/v2/dev/acme/long/manifests/1", "", nil, 200, "", ""},
		{"pull of what is not there", "GET", "/v2/dev/acme/longer/manifests/1", "", nil, 404, "MANIFEST_UNKNOWN", ""},
		{"delete tag", "DELETE", "/v2/dev/acme/long/manifests/1", "", nil, 202, "", ""},
		{"delete manifest", "DELETE", "/v2/dev/acme/long/manifests/" + long.String(), "", nil, 202, "", ""},
		{"delete blob", "DELETE", "/v2/dev/acme/long/blobs/" + d, "", nil, 202, "", ""},
	})
}

func TestOpenUploadsLimit(t *testing.T) {
	f := newFixture(t, nil, tiers.Limits{Uploads: 2})
	full := func() {
		t.Helper()
		if got := f.want(f.do("POST", "/v2/dev/other/blobs/uploads/", nil), 429, "TOOMANYREQUESTS"); got.header.Get("Retry-After") == "" {
			t.Error("429 without Retry-After")
		}
	}
	one, two := f.begin("dev/app"), f.begin("dev/app")
	full()
	f.want(f.do("PATCH", two, strings.NewReader("a")), 202, "")
	full()
	f.push("dev/app", "in one request") // needs no session
	f.want(f.do("DELETE", one, nil), 204, "")
	one = f.begin("dev/app")
	full()
	f.want(f.do("PUT", two+"?digest="+digest.FromString("a").String(), nil), 201, "")
	two = f.begin("dev/app")
	f.want(f.do("PUT", two+"?digest="+digest.FromString("whole").String(), strings.NewReader("whole")), 201, "")
	two = f.begin("dev/app")
	f.want(f.do("PATCH", two, strings.NewReader("a")), 202, "")
	f.want(f.do("PUT", two+"?digest="+digest.FromString("b").String(), nil), 400, "DIGEST_INVALID") // which ends it
	f.begin("dev/app")
	full()
	f.want(f.do("PATCH", one, strings.NewReader("a")), 202, "") // those that are open go on
}

func TestImmutableTags(t *testing.T) {
	f := newFixture(t, nil, tiers.Limits{ImmutableTags: []string{"v*", "latest"}})
	d := f.pushImage("dev/app", "v1", "layer", "")
	f.pushImage("dev/app", "v1", "layer", "") // the same again
	f.pushImage("dev/app", "1", "layer", "")
	f.push("dev/app", "other")
	other := image("other", "")
	put := []string{"Content-Type", typeImage}
	f.exchanges(t, []exchange{
		{"moved", "PUT", "/v2/dev/app/manifests/v1", other, put, 403, "DENIED", "immutable tag: dev/app:v1 cannot be moved"},
		{"nothing is left of it", "GET", "/v2/dev/app/manifests/" + digest.FromString(other).String(), "", nil, 404, "MANIFEST_UNKNOWN", ""},
		{"still there", "HEAD", "/v2/dev/app/manifests/v1", "", nil, 200, "", ""},
		{"deleted", "DELETE", "/v2/dev/app/manifests/v1", "", nil, 403, "DENIED", "cannot be deleted"},
		{"deleted with its manifest", "DELETE", "/v2/dev/app/manifests/" + d.String(), "", nil, 403, "DENIED", "v1 cannot be deleted with its manifest"},
		{"none to delete", "DELETE", "/v2/dev/app/manifests/v2", "", nil, 404, "MANIFEST_UNKNOWN", ""},
		{"a new one", "PUT", "/v2/dev/app/manifests/v2", other, put, 201, "", ""},
		{"a literal one", "PUT", "/v2/dev/app/manifests/latest", other, put, 201, "", ""},
		{"a literal one moved", "PUT", "/v2/dev/app/manifests/latest", image("layer", ""), put, 403, "DENIED", ""},
		{"another moves", "PUT", "/v2/dev/app/manifests/1", other, put, 201, "", ""},
		{"another goes", "DELETE", "/v2/dev/app/manifests/1", "", nil, 202, "", ""},
	})
	if got := f.do("HEAD", "/v2/dev/app/manifests/v1", nil).header.Get("Docker-Content-Digest"); got != d.String() {
		t.Errorf("v1 is %s, want %s", got, d)
	}
}

func TestQuota(t *testing.T) {
	manifest := int64(len(image("layer", "")))
	whole := int64(len("{}")+len("layer")) + manifest
	f := newFixture(t, nil, tiers.Limits{Quotas: []tiers.Quota{{Prefix: "acme", Bytes: whole + 5}}})
	d := f.pushImage("dev/acme/app", "1", "layer", "")
	f.pushImage("dev/acme/app", "2", "layer", "") // the same bytes: counted once
	f.push("dev/acmeco", "is not of acme")
	six, five := digest.FromString("sixsix").String(), digest.FromString("fives").String()
	uploads := "/v2/dev/acme/web/blobs/uploads/"
	f.exchanges(t, []exchange{
		{"too much in one request", "POST", uploads + "?digest=" + six, "sixsix", nil, 403, "DENIED",
			fmt.Sprintf("dev/acme hold %d bytes of %d and have no room for 6 more", whole, whole+5)},
		{"too much in a session", "PUT", f.begin("dev/acme/web") + "?digest=" + six, "sixsix", nil, 403, "DENIED", "delete what is not needed"},
		{"too much in a chunk", "PATCH", f.begin("dev/acme/web"), "sixsix", nil, 403, "DENIED", ""},
		{"too much by a mount", "POST", uploads + "?mount=" + digest.FromString("is not of acme").String() + "&from=dev/acmeco", "", nil, 403, "DENIED", ""},
		{"no blob", "HEAD", "/v2/dev/acme/web/blobs/" + six, "", nil, 404, "", ""},
		{"just enough", "POST", uploads + "?digest=" + five, "fives", nil, 201, "", ""},
		{"full", "POST", uploads, "", nil, 403, "DENIED", "no room"},
		{"the same again", "POST", uploads + "?digest=" + five, "fives", nil, 201, "", ""},
		{"elsewhere", "POST", "/v2/dev/other/blobs/uploads/?digest=" + six, "sixsix", nil, 201, "", ""},
		{"a manifest", "PUT", "/v2/dev/acme/app/manifests/3", image("layer", `,"annotations":{"a":"b"}`), []string{"Content-Type", typeImage}, 403, "DENIED", ""},
		{"a tag takes nothing", "PUT", "/v2/dev/acme/app/manifests/3", image("layer", ""), []string{"Content-Type", typeImage}, 201, "", ""},
		{"make room", "DELETE", "/v2/dev/acme/app/manifests/" + d.String(), "", nil, 202, "", ""},
		{"room", "POST", uploads + "?digest=" + six, "sixsix", nil, 201, "", ""},
	})
	at := f.begin("dev/acme/web")
	streamed := strings.Repeat("s", int(manifest)) // nobody knows how long it is until its end
	f.want(f.do("PUT", at+"?digest="+digest.FromString(streamed).String(), unknownLength(streamed)), 403, "DENIED")
	f.want(f.do("GET", at, nil), 404, "BLOB_UPLOAD_UNKNOWN")
	f.wantNoBlob("dev/acme/web", digest.FromString(streamed))
}

// TestLimitsInForce shows them to those who may know: a quota's prefix is the name of
// somebody's repositories.
func TestLimitsInForce(t *testing.T) {
	limits := tiers.Limits{BlobSize: 100, ManifestSize: 2000, NameLength: 20, Uploads: 3, ImmutableTags: []string{"v*"}, NoDelete: true,
		Quotas: []tiers.Quota{{Prefix: "acme", Bytes: 5000}, {Bytes: 9000}}}
	a := newAPI(t, nil, limits)
	a.push("dev/acme/app", "layer")
	got := a.want(a.call("GET", "/api/v1/tiers?n=1", ""), 200, "")
	want := `"limits":{"blobSize":100,"manifestSize":2000,"nameLength":20,"uploads":3,"immutableTags":["v*"],"delete":false,` +
		`"quotas":[{"prefix":"","size":9000,"used":5},{"prefix":"acme","size":5000,"used":5}]}`
	if !strings.Contains(string(got.body), want) {
		t.Errorf("got %s, want %s", got.body, want)
	}
	got = a.want(a.call("GET", "/api/v1/tiers?last=dev", ""), 200, "")
	if strings.Contains(string(got.body), "limits") {
		t.Errorf("tiers that nobody pushes to: %s", got.body)
	}

	plain := newAPI(t, nil)
	got = plain.want(plain.call("GET", "/api/v1/tiers?n=1", ""), 200, "")
	if want := `"limits":{"manifestSize":4194304,"immutableTags":[],"delete":true,"quotas":[]}`; !strings.Contains(string(got.body), want) {
		t.Errorf("got %s, want %s", got.body, want)
	}
}

func TestQuotasOfOthers(t *testing.T) {
	a := newAPI(t, withUsers(t, Grant{Users: []string{"dave"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionPull, ActionPush}}),
		tiers.Limits{Quotas: []tiers.Quota{{Prefix: "acme", Bytes: 10}, {Prefix: "secret", Bytes: 10}, {Bytes: 100}}})
	a.user = "dave:dave"
	a.push("dev/acme/app", "layer")
	got := a.want(a.call("GET", "/api/v1/tiers?n=1", ""), 200, "")
	if want := `"quotas":[{"prefix":"","size":100,"used":5},{"prefix":"acme","size":10,"used":5}]`; !strings.Contains(string(got.body), want) {
		t.Errorf("got %s, want %s", got.body, want)
	}
}
