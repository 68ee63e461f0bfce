package server

import (
	"strings"
	"testing"
)

// TestPullOfWhatIsBelow asks promoted tiers for what has not risen to them.
func TestPullOfWhatIsBelow(t *testing.T) {
	f := newAuthFixture(t, nil)
	f.host = "registry.example.com:5000"
	ci, reader := f.as("ci"), f.as("reader")
	d := ci.pushImage("dev/acme/app", "1", "layer", "").String()
	f.promoted("stable", "acme/half", "1", "layer")

	pull := func(f *fixture, path, want string) {
		t.Helper()
		got := f.want(f.do("GET", "/v2/"+path, nil), 404, "MANIFEST_UNKNOWN")
		if !strings.Contains(string(got.body), want) || want == "" && strings.Contains(string(got.body), "promote") {
			t.Errorf("%s: got %s, want %q in it", path, got.body, want)
		}
		head := f.do("HEAD", "/v2/"+path, nil)
		if head.status != 404 || len(head.body) != 0 || !strings.Contains(head.header.Get("Warning"), want) || (want == "") != (head.header.Get("Warning") == "") {
			t.Errorf("HEAD %s: got %d %q %v", path, head.status, head.body, head.header)
		}
	}
	cleaner := f.as("cleaner") // pulls everywhere
	pull(cleaner, "stable/acme/app/manifests/1", "it is in dev and rises from there with: sluice promote registry.example.com:5000/dev/acme/app:1 --to stable")
	pull(cleaner, "release/acme/app/manifests/1", "it is in dev and rises from there with: sluice promote registry.example.com:5000/dev/acme/app:1 --to stable")
	pull(cleaner, "stable/acme/app/manifests/"+d, "sluice promote registry.example.com:5000/dev/acme/app@"+d+" --to stable")
	pull(cleaner, "release/acme/half/manifests/1", "it is in stable and rises from there with: sluice promote registry.example.com:5000/stable/acme/half:1 --to release")
	pull(cleaner, "stable/acme/app/manifests/2", "")
	pull(cleaner, "stable/acme/app/manifests/-", "")
	pull(cleaner, "dev/acme/half/manifests/1", "")
	// One who may pull above and not below learns nothing.
	pull(reader, "release/acme/app/manifests/1", "")
	// Nor does one whom nobody may tell.
	anonymous := f.as("")
	pull(anonymous, "release/public/app/manifests/1", "")
}

// TestNameWithoutTierInEveryRequest sends what docker sends for host/app.
func TestNameWithoutTierInEveryRequest(t *testing.T) {
	f := newFixture(t, nil)
	var tests []exchange
	for name, right := range map[string]string{"app": "dev/app", "library/alpine": "dev/library/alpine", "acme/team/app": "dev/acme/team/app"} {
		for _, request := range [][2]string{
			{"HEAD", "/blobs/" + zeros}, {"GET", "/blobs/" + zeros}, {"POST", "/blobs/uploads/"}, {"POST", "/blobs/uploads/?mount=" + zeros + "&from=other"},
			{"PATCH", "/blobs/uploads/x"}, {"PUT", "/blobs/uploads/x?digest=" + zeros}, {"HEAD", "/manifests/latest"}, {"GET", "/manifests/latest"},
			{"PUT", "/manifests/latest"}, {"DELETE", "/manifests/latest"}, {"GET", "/tags/list"}, {"GET", "/referrers/" + zeros},
		} {
			want := "dev, stable, release, and a name begins with one: dev/acme/app; for " + name + " that is " + strings.TrimPrefix(f.url, "http://") + "/" + right
			if request[0] == "HEAD" {
				want = ""
			}
			tests = append(tests, exchange{request[0] + " " + name + request[1][:6], request[0], "/v2/" + name + request[1], "", nil, 404, "NAME_UNKNOWN", want})
		}
	}
	f.exchanges(t, tests)
}
