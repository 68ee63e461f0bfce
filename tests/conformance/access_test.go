package conformance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// rowMounts: who may not read a repository learns nothing of what it holds, and a blob is
// found only through a repository that holds it.
func rowMounts(s *suite) {
	alice, bob, reader := s.as("alice"), s.as("bob"), s.as("reader")
	secret := bob.blob(s, "dev/bob/app", "only bob may read this")
	shared := bob.blob(s, "dev/shared/base", "both may read this")
	hidden := s.authed.promoted(s, "stable", "acme/app", "1", "in stable")
	inStable := digest.FromString("in stable")
	mount := func(t *testing.T, c client, to, query string, status int) answer {
		t.Helper()
		return c.is(t, status, c.do(t, "POST", "/v2/"+to+"/blobs/uploads/?"+query, ""))
	}
	for name, query := range map[string]string{
		"unreadable": "mount=" + secret.String() + "&from=dev/bob/app", "unreadable and empty": "mount=" + zeros + "&from=dev/bob/app", "unreadable repository that is not": "mount=" + secret.String() + "&from=dev/bob/none",
		"unreadable tier": "mount=" + inStable.String() + "&from=stable/acme/app", "manifest of an unreadable tier": "mount=" + hidden.String() + "&from=stable/acme/app", "no tier": "mount=" + secret.String() + "&from=bob/app", "tier alone": "mount=" + secret.String() + "&from=dev",
		"no name": "mount=" + secret.String() + "&from=DEV/../x", "NUL": "mount=" + secret.String() + "&from=dev/bob/app%00", "climbing": "mount=" + secret.String() + "&from=dev/alice/../bob/app", "escaped": "mount=" + secret.String() + "&from=dev%2Fbob%2Fapp",
		"empty from": "mount=" + secret.String() + "&from=", "no from": "mount=" + secret.String(), "two froms": "mount=" + secret.String() + "&from=dev/alice/app&from=dev/bob/app", "missing": "mount=" + zeros + "&from=dev/shared/base",
		"the other algorithm": "mount=" + digest.SHA512.FromString("both may read this").String() + "&from=dev/shared/base",
	} {
		s.test(name, func(t *testing.T) {
			got := mount(t, alice, "dev/alice/app", query, 202)
			asked, err := url.ParseQuery(query)
			if err != nil {
				t.Fatal(err)
			}
			alice.wantNoBlob(t, "dev/alice/app", digest.Digest(asked.Get("mount")))
			if got.header.Get("Docker-Content-Digest") != "" || len(got.body) > 0 {
				t.Errorf("got %v %s", got.header, got.body)
			}
			// It is a session like any other.
			alice.is(t, 201, alice.do(t, "PUT", withQuery(location(t, got), "digest="+digest.FromString("x").String()), "x"))
		})
	}
	s.test("readable", func(t *testing.T) {
		got := mount(t, alice, "dev/alice/app", "mount="+shared.String()+"&from=dev/shared/base", 201)
		if location(t, got) != "/v2/dev/alice/app/blobs/"+shared.String() || got.header.Get("Docker-Content-Digest") != shared.String() {
			t.Errorf("got %v", got.header)
		}
		alice.wantBlob(t, "dev/alice/app", "both may read this")
	})
	s.test("to where the user may not push", func(t *testing.T) {
		for _, to := range []string{"dev/bob/app", "dev/none"} {
			alice.want(t, exchange{method: "POST", target: "/v2/" + to + "/blobs/uploads/?mount=" + shared.String() + "&from=dev/shared/base", status: 403, code: "DENIED"})
		}
		client{registry: s.authed}.want(t, exchange{method: "POST", target: "/v2/dev/shared/base/blobs/uploads/?mount=" + shared.String() + "&from=dev/shared/base", status: 401, code: "UNAUTHORIZED"})
	})
	c := s.open
	d := c.blob(s, "dev/holds", "asked for elsewhere")
	c.image(s, "dev/holds-not", "1", "layer")
	for _, repo := range []string{"dev/holds-not", "dev/never", "dev/holds/deeper", "dev/hold", "stable/holds", "release/holds"} {
		for name, e := range map[string]exchange{
			"GET": {method: "GET"}, "HEAD": {method: "HEAD"}, "range": {method: "GET", headers: []string{"Range", "bytes=0-1"}}, "conditional": {method: "GET", headers: []string{"If-None-Match", `"` + d.String() + `"`}}, "DELETE": {method: "DELETE"},
		} {
			if e.method == "DELETE" && !strings.HasPrefix(repo, "dev/") {
				continue
			}
			s.test(name+" through "+repo, func(t *testing.T) {
				e.target, e.status, e.code = "/v2/"+repo+"/blobs/"+d.String(), 404, "BLOB_UNKNOWN"
				c.want(t, e)
			})
		}
	}
	s.test("a reader is told no more than others", func(t *testing.T) {
		reader.want(t, exchange{method: "GET", target: "/v2/dev/alice/none/blobs/" + secret.String(), status: 404, code: "BLOB_UNKNOWN"})
		alice.want(t, exchange{method: "GET", target: "/v2/dev/bob/app/blobs/" + secret.String(), status: 403, code: "DENIED"})
		alice.want(t, exchange{method: "GET", target: "/v2/dev/bob/app/blobs/" + zeros, status: 403, code: "DENIED"})
	})
}

// writes are all kinds of requests that would change a repository, good ones and ones that
// would fail anyway: the tier is what decides.
func writes(repo string) []exchange {
	manifests, uploads, blobs := "/v2/"+repo+"/manifests/", "/v2/"+repo+"/blobs/uploads/", "/v2/"+repo+"/blobs/"
	d := digest.FromString("layer").String()
	typed := []string{"Content-Type", typeImage}
	referrer := image("layer", `,"artifactType":"a/b","subject":`+sized(typeImage, zeros, "7"))
	all := []exchange{
		{name: "manifest by tag", method: "PUT", target: manifests + "1.0", body: image("layer", ""), headers: typed},
		{name: "manifest by a new tag", method: "PUT", target: manifests + "new", body: image("layer", ""), headers: typed},
		{name: "manifest by digest", method: "PUT", target: manifests + digest.FromString(image("layer", "")).String(), body: image("layer", ""), headers: typed},
		{name: "index", method: "PUT", target: manifests + "1.0", body: indexOf(""), headers: []string{"Content-Type", typeIndex}},
		{name: "referrer", method: "PUT", target: manifests + digest.FromString(referrer).String(), body: referrer, headers: typed},
		{name: "fallback tag", method: "PUT", target: manifests + strings.Replace(zeros, ":", "-", 1), body: indexOf(""), headers: []string{"Content-Type", typeIndex}},
		{name: "signature by its tag", method: "PUT", target: manifests + strings.Replace(zeros, ":", "-", 1) + ".sig", body: image("layer", ""), headers: typed},
		{name: "manifest with parameters", method: "PUT", target: manifests + "1.0?force=true&skip-policy=1", body: image("layer", ""), headers: typed},
		{name: "manifest by a bad tag", method: "PUT", target: manifests + ".bad", body: "{}"},
		{name: "manifest by a bad digest", method: "PUT", target: manifests + "sha256:x", body: "{}"},
		{name: "no manifest", method: "PUT", target: manifests + "1.0", body: "x"},
		{name: "manifest that is too large", method: "PUT", target: manifests + "1.0", body: strings.Repeat(" ", manifestLimit+1)},
		{name: "upload", method: "POST", target: uploads}, {name: "upload without slash", method: "POST", target: uploads[:len(uploads)-1]},
		{name: "single POST", method: "POST", target: uploads + "?digest=" + d, body: "layer"},
		{name: "single POST of a bad digest", method: "POST", target: uploads + "?digest=x", body: "layer"},
		{name: "mount", method: "POST", target: uploads + "?from=dev/acme/app&mount=" + d}, {name: "mount without from", method: "POST", target: uploads + "?mount=" + d}, {name: "mount of itself", method: "POST", target: uploads + "?from=" + repo + "&mount=" + d},
		{name: "PATCH", method: "PATCH", target: uploads + "x", body: "layer"}, {name: "PATCH of a bad range", method: "PATCH", target: uploads + "x", body: "layer", headers: []string{"Content-Range", "x"}},
		{name: "PUT of an upload", method: "PUT", target: uploads + "x?digest=" + d, body: "layer"}, {name: "status of an upload", method: "GET", target: uploads + "x"}, {name: "cancel", method: "DELETE", target: uploads + "x"},
		{name: "DELETE of a tag", method: "DELETE", target: manifests + "1.0"}, {name: "DELETE of no tag", method: "DELETE", target: manifests + "none"},
		{name: "DELETE of a manifest", method: "DELETE", target: manifests + d}, {name: "DELETE of a blob", method: "DELETE", target: blobs + d}, {name: "DELETE of no blob", method: "DELETE", target: blobs + zeros},
	}
	for i := range all {
		all[i].status, all[i].code = 403, "DENIED"
	}
	return all
}

// rowPromotedTiers: nobody writes to a tier that only promotion fills.
func rowPromotedTiers(s *suite) {
	c := s.open
	c.image(s, "dev/acme/app", "1.0", "layer")
	for _, tier := range []string{"stable", "release"} {
		for _, repo := range []string{tier + "/acme/app", tier + "/never/was"} {
			d := c.promoted(s, tier, "acme/app", "1.0", "layer")
			for _, e := range writes(repo) {
				e.says = "dev" + strings.TrimPrefix(repo, tier) // the way in
				s.test(repo+": "+e.name, func(t *testing.T) { c.want(t, e) })
			}
			s.test(repo+" is as it was", func(t *testing.T) {
				got := c.is(t, 200, c.do(t, "GET", "/v2/"+tier+"/acme/app/manifests/1.0", ""))
				tags := c.is(t, 200, c.do(t, "GET", "/v2/"+tier+"/acme/app/tags/list", ""))
				if got.header.Get("Docker-Content-Digest") != d.String() || len(names(t, tags.body)) != 1 {
					t.Errorf("got %v %s", got.header, tags.body)
				}
				c.wantBlob(t, tier+"/acme/app", "layer")
				c.want(t, exchange{method: "GET", target: "/v2/" + tier + "/never/was/tags/list", status: 404, code: "NAME_UNKNOWN"})
			})
		}
	}
	for _, user := range []string{"alice", "reader"} { // the one may not even look
		for _, e := range writes("release/acme/app") {
			s.test(user+": "+e.name, func(t *testing.T) { s.as(user).want(t, e) })
		}
	}
	s.test("methods that are none", func(t *testing.T) {
		for _, method := range []string{"POST", "PATCH", "OPTIONS", "COPY"} {
			got := c.want(t, exchange{method: method, target: "/v2/release/acme/app/manifests/1.0", status: 405, code: "UNSUPPORTED"})
			if allow := got.header.Get("Allow"); strings.Contains(allow, method) {
				t.Errorf("%s: got Allow %q", method, allow)
			}
		}
	})
}

// rowDayOne: what a newcomer does wrong is answered with what would be right.
func rowDayOne(s *suite) {
	c := s.open
	for name, e := range map[string]exchange{
		"docker pull host/app": {method: "GET", target: "/v2/app/manifests/latest"}, "docker pull host/acme/app": {method: "HEAD", target: "/v2/acme/app/manifests/1.0"},
		"docker push host/app": {method: "POST", target: "/v2/app/blobs/uploads/"}, "docker push host/acme/app": {method: "POST", target: "/v2/acme/app/blobs/uploads/"}, "docker push checks": {method: "HEAD", target: "/v2/app/blobs/" + zeros},
		"oras push host/app": {method: "PUT", target: "/v2/app/manifests/1", body: "{}"}, "crane ls host/app": {method: "GET", target: "/v2/app/tags/list"}, "oras discover": {method: "GET", target: "/v2/acme/app/referrers/" + zeros},
		"library": {method: "GET", target: "/v2/library/alpine/manifests/3"}, "a tier that is not": {method: "GET", target: "/v2/prod/acme/app/manifests/1"}, "the tier behind": {method: "PUT", target: "/v2/acme/app/dev/manifests/1", body: "{}"},
		"a session": {method: "PATCH", target: "/v2/app/blobs/uploads/x", body: "x"}, "delete": {method: "DELETE", target: "/v2/app/manifests/1"}, "single POST": {method: "POST", target: "/v2/app/blobs/uploads/?digest=" + digest.FromString("x").String(), body: "x"},
	} {
		s.test(name, func(t *testing.T) {
			e.status, e.code = 404, "NAME_UNKNOWN"
			got := c.want(t, e)
			for _, tier := range []string{"dev", "stable", "release"} {
				if e.method != http.MethodHead && !strings.Contains(got.message(), tier) {
					t.Errorf("got %q, want %s in it", got.message(), tier)
				}
			}
		})
	}
	for _, tier := range []string{"dev", "release"} {
		s.test("only the tier "+tier, func(t *testing.T) {
			c.want(t, exchange{method: "GET", target: "/v2/" + tier + "/tags/list", status: 404, code: "NAME_UNKNOWN", says: tier + "/"})
		})
	}
	signed := c.promoted(s, "release", "acme/signed", "1.0", "layer")
	tag := strings.Replace(signed.String(), ":", "-", 1)
	for name, e := range map[string]exchange{
		"cosign sign, its blob": {method: "POST", target: "/v2/release/acme/signed/blobs/uploads/"}, "cosign sign, its tag": {method: "PUT", target: "/v2/release/acme/signed/manifests/" + tag + ".sig", body: image("layer", ""), headers: []string{"Content-Type", typeImage}},
		"cosign attest, its tag": {method: "PUT", target: "/v2/release/acme/signed/manifests/" + tag + ".att", body: image("layer", ""), headers: []string{"Content-Type", typeImage}},
		"cosign sign, a bundle":  {method: "PUT", target: "/v2/release/acme/signed/manifests/" + zeros, body: image("layer", ""), headers: []string{"Content-Type", typeImage}},
		"notation sign":          {method: "PUT", target: "/v2/release/acme/signed/manifests/" + tag, body: indexOf(""), headers: []string{"Content-Type", typeIndex}},
	} {
		s.test(name, func(t *testing.T) {
			e.status, e.code = 403, "DENIED"
			got := c.want(t, e)
			for _, part := range []string{"localhost/dev/acme/signed", "sluice promote localhost/stable/acme/signed", "--to release"} {
				if !strings.Contains(got.message(), part) {
					t.Errorf("got %q, want %q in it", got.message(), part)
				}
			}
		})
	}
	d := c.image(s, "dev/kept", "1", "kept layer")
	c.manifest(s, "dev/kept", "index", typeIndex, indexOf("", sized(typeImage, d.String(), fmt.Sprint(len(image("kept layer", ""))))))
	for _, content := range []string{"{}", "kept layer"} {
		s.test("DELETE of a blob in use "+content, func(t *testing.T) {
			e := exchange{method: "DELETE", target: "/v2/dev/kept/blobs/" + digest.FromString(content).String(), status: 405, code: "UNSUPPORTED"}
			c.want(t, e)
			c.is(t, 202, c.do(t, "DELETE", "/v2/dev/kept/manifests/1", "")) // the tag: its manifest still refers to it
			c.want(t, e)
			c.manifest(t, "dev/kept", "1", typeImage, image("kept layer", ""))
			c.wantBlob(t, "dev/kept", content)
		})
	}
	s.test("DELETE of a child in use", func(t *testing.T) {
		c.want(t, exchange{method: "DELETE", target: "/v2/dev/kept/manifests/" + d.String(), status: 405, code: "UNSUPPORTED"})
	})
}

// rowFixed: what may not go stays, and what may not change does not.
func rowFixed(s *suite) {
	c, repo := s.fixed, "dev/fixed"
	d := c.image(s, repo, "1.0", "layer")
	loose := c.blob(s, repo, "loose")
	for name, target := range map[string]string{
		"tag": "manifests/1.0", "manifest": "manifests/" + d.String(), "blob": "blobs/" + digest.FromString("layer").String(), "loose blob": "blobs/" + loose.String(),
		"no tag": "manifests/none", "no manifest": "manifests/" + zeros, "no blob": "blobs/" + zeros, "bad tag": "manifests/.a",
	} {
		s.test("DELETE of "+name, func(t *testing.T) {
			got := c.want(t, exchange{method: "DELETE", target: "/v2/" + repo + "/" + target, status: 405, code: "UNSUPPORTED"})
			if allow := got.header.Get("Allow"); strings.Contains(allow, "DELETE") {
				t.Errorf("got Allow %q", allow)
			}
		})
	}
	s.test("all of it is there", func(t *testing.T) {
		c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/1.0", ""))
		c.is(t, 200, c.do(t, "GET", "/v2/"+repo+"/manifests/"+d.String(), ""))
		c.wantBlob(t, repo, "layer")
		c.wantBlob(t, repo, "loose")
	})
	s.test("an upload can still be cancelled", func(t *testing.T) { c.is(t, 204, c.do(t, "DELETE", c.begin(t, repo), "")) })
	s.test("a promoted tier is refused as such", func(t *testing.T) {
		c.want(t, exchange{method: "DELETE", target: "/v2/stable/fixed/manifests/1.0", status: 403, code: "DENIED"})
	})
	for _, tier := range []string{"stable", "release"} {
		for _, tag := range []string{"1.0", "latest"} { // clients do not move even what a promotion may
			s.test("overwriting "+tier+" "+tag, func(t *testing.T) {
				d := s.open.promoted(t, tier, "acme/fixed", tag, "layer")
				for _, layer := range []string{"another layer", "layer"} {
					s.open.want(t, exchange{method: "PUT", target: "/v2/" + tier + "/acme/fixed/manifests/" + tag, body: image(layer, ""), headers: []string{"Content-Type", typeImage}, status: 403, code: "DENIED"})
				}
				got := s.open.is(t, 200, s.open.do(t, "HEAD", "/v2/"+tier+"/acme/fixed/manifests/"+tag, ""))
				if got.header.Get("Docker-Content-Digest") != d.String() {
					t.Errorf("got %v, want %s", got.header, d)
				}
			})
		}
	}
	promotedTags(s)
	immutableTags(s)
}
