package server

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/bcrypt"
)

// writes are all kinds of requests that would change a repository.
func writes(repo string) []exchange {
	blob := "/v2/" + repo + "/blobs/"
	d := digest.FromString("layer").String()
	subject := `,"artifactType":"a/b","subject":{"mediaType":"` + typeImage + `","digest":"` + zeros + `","size":7}`
	return []exchange{
		{"manifest by tag", "PUT", "/v2/" + repo + "/manifests/1.0", image("layer", ""), []string{"Content-Type", typeImage}, 403, "DENIED", ""},
		{"manifest by digest", "PUT", "/v2/" + repo + "/manifests/" + d, image("layer", ""), []string{"Content-Type", typeImage}, 403, "DENIED", ""},
		{"referrer", "PUT", "/v2/" + repo + "/manifests/1.0", image("layer", subject), []string{"Content-Type", typeImage}, 403, "DENIED", ""},
		{"manifest with a bad tag", "PUT", "/v2/" + repo + "/manifests/.bad", "{}", nil, 403, "DENIED", ""},
		{"manifest with a bad digest", "PUT", "/v2/" + repo + "/manifests/sha256:x", "{}", nil, 403, "DENIED", ""},
		{"manifest that is no JSON", "PUT", "/v2/" + repo + "/manifests/1.0", "x", nil, 403, "DENIED", ""},
		{"manifest that is too large", "PUT", "/v2/" + repo + "/manifests/1.0", strings.Repeat(" ", 5<<20), nil, 403, "DENIED", ""},
		{"upload", "POST", blob + "uploads/", "", nil, 403, "DENIED", ""},
		{"single POST", "POST", blob + "uploads/?digest=" + d, "layer", nil, 403, "DENIED", ""},
		{"single POST with a bad digest", "POST", blob + "uploads/?digest=x", "layer", nil, 403, "DENIED", ""},
		{"mount", "POST", blob + "uploads/?from=dev/app&mount=" + d, "", nil, 403, "DENIED", ""},
		{"PATCH", "PATCH", blob + "uploads/x", "layer", nil, 403, "DENIED", ""},
		{"PATCH with a bad range", "PATCH", blob + "uploads/x", "layer", []string{"Content-Range", "x"}, 403, "DENIED", ""},
		{"PUT of an upload", "PUT", blob + "uploads/x?digest=" + d, "layer", nil, 403, "DENIED", ""},
		{"status of an upload", "GET", blob + "uploads/x", "", nil, 403, "DENIED", ""},
		{"cancel", "DELETE", blob + "uploads/x", "", nil, 403, "DENIED", ""},
		{"delete a tag", "DELETE", "/v2/" + repo + "/manifests/1.0", "", nil, 403, "DENIED", ""},
		{"delete a manifest", "DELETE", "/v2/" + repo + "/manifests/" + d, "", nil, 403, "DENIED", ""},
		{"delete what is not there", "DELETE", "/v2/" + repo + "/manifests/none", "", nil, 403, "DENIED", ""},
		{"delete a blob", "DELETE", blob + d, "", nil, 403, "DENIED", ""},
	}
}

func TestPromotedTiersTakeNoWrites(t *testing.T) {
	f := newFixture(t, nil)
	f.pushImage("dev/app", "1.0", "layer", "")
	for _, tier := range []string{"stable", "release"} {
		d := f.promoted(tier, "acme/app", "1.0", "layer")
		tests := writes(tier + "/acme/app")
		for i := range tests {
			tests[i].name = tier + ": " + tests[i].name
			tests[i].message = "dev/acme/app"
		}
		tests[0].message = "sluice promote "
		f.exchanges(t, tests)
		got := f.want(f.do("GET", "/v2/"+tier+"/acme/app/manifests/1.0", nil), 200, "")
		if got.header.Get("Docker-Content-Digest") != d.String() {
			t.Errorf("%s: got %v", tier, got.header)
		}
	}
	got := f.do("PUT", "/v2/release/acme/app/manifests/"+zeros, strings.NewReader("{}"))
	for _, part := range []string{"dev/acme/app@" + zeros, "stable/acme/app@" + zeros, "--to release"} {
		if !strings.Contains(string(got.body), part) {
			t.Errorf("got %s, want %q in it", got.body, part)
		}
	}
}

// TestRefusalComesBeforeTheBody holds the body back: the answer must not wait for it.
func TestRefusalComesBeforeTheBody(t *testing.T) {
	f := newFixture(t, nil)
	for _, path := range []string{"/v2/release/app/blobs/uploads/?digest=" + zeros, "/v2/release/app/manifests/1", "/v2/app/blobs/uploads/x"} {
		conn := f.dial()
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n", strings.Replace(path, "uploads/?", "uploads/x?", 1))
		if status := f.statusOf(conn); status != 403 && status != 404 {
			t.Errorf("%s: got %d", path, status)
		}
	}
}

func TestOnlyLoopbackWithoutAuth(t *testing.T) {
	f := newFixture(t, nil)
	for host, status := range map[string]int{
		"localhost": 200, "localhost:5000": 200, "LOCALHOST": 200, "127.0.0.1": 200, "127.0.0.1:80": 200, "127.9.9.9": 200, "[::1]": 200, "[::1]:5000": 200,
		"evil.example": 403, "evil.example:5000": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403, "10.0.0.1": 403, "[::2]": 403, "0.0.0.0": 403, "128.0.0.1": 403,
	} {
		got := f.do("GET", "/v2/", nil, "Host", host)
		if got.status != status || status == 403 && got.code() != "DENIED" {
			t.Errorf("Host %s: got %d %s", host, got.status, got.body)
		}
	}
	for origin, status := range map[string]int{
		"http://localhost:5000": 202, "http://127.0.0.1": 202, "https://[::1]:1": 202,
		"http://evil.example": 403, "null": 403, "http://localhost.evil.example": 403, "http://localhost@evil.example": 403, "": 202,
	} {
		if got := f.do("POST", "/v2/dev/app/blobs/uploads/", nil, "Origin", origin); got.status != status && origin != "" {
			t.Errorf("Origin %s: got %d %s", origin, got.status, got.body)
		}
	}
}

// htpasswdFile writes users whose password is their name and "-secret".
func htpasswdFile(t *testing.T, users ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "users")
	var lines []string
	for _, user := range users {
		hash, err := bcrypt.GenerateFromPassword([]byte(user+"-secret"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, user+":"+string(hash))
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newAuthFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	auth, err := NewAuth(AuthConfig{
		Htpasswd: htpasswdFile(t, "ci", "reader", "cleaner", "nobody", "other", "blind"),
		Grants: []Grant{
			{Users: []string{"ci"}, Tiers: []string{"dev"}, Repositories: []string{"acme/**"}, Actions: []Action{ActionPull, ActionPush}},
			{Users: []string{"ci", "reader"}, Tiers: []string{"stable", "release"}, Actions: []Action{ActionPull}},
			{Users: []string{"other"}, Tiers: []string{"dev"}, Repositories: []string{"other/*", "acme/shared"}, Actions: []Action{ActionPull, ActionPush}},
			{Users: []string{"cleaner"}, Actions: []Action{ActionPull, ActionDelete}},
			{Users: []string{"blind"}, Actions: []Action{ActionPush}},
			{Users: []string{Anonymous}, Tiers: []string{"release"}, Repositories: []string{"public/**"}, Actions: []Action{ActionPull}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, func(c *Config) {
		c.Auth = auth
		if change != nil {
			change(c)
		}
	})
}

func (f *fixture) as(user string) *fixture {
	g := *f
	if g.user = ""; user != "" {
		g.user = user + ":" + user + "-secret"
	}
	return &g
}

func TestAuth(t *testing.T) {
	f := newAuthFixture(t, nil)
	ci, reader, cleaner, nobody, other, anonymous := f.as("ci"), f.as("reader"), f.as("cleaner"), f.as("nobody"), f.as("other"), f.as("")
	d := ci.pushImage("dev/acme/app", "1", "layer", "")
	f.promoted("release", "public/app", "1", "layer")
	f.promoted("release", "acme/app", "1", "layer")

	for user, status := range map[string]int{"ci:ci-secret": 200, "nobody:nobody-secret": 200, "": 401, ":": 401, "ci:wrong": 401, "ci:": 401, "none:none-secret": 401, "CI:ci-secret": 401} {
		g := *f
		g.user = user
		got := g.do("GET", "/v2/", nil)
		if got.status != status || status == 401 && (got.code() != "UNAUTHORIZED" || !strings.HasPrefix(got.header.Get("WWW-Authenticate"), `Basic realm="sluice"`)) {
			t.Errorf("%s: got %d %s %v", user, got.status, got.body, got.header)
		}
	}
	f.want(f.do("GET", "/v2/", nil, "Authorization", "Bearer abc"), 401, "UNAUTHORIZED")
	f.want(f.do("GET", "/v2/release/public/app/manifests/1", nil, "Authorization", "Basic Og=="), 200, "") // nobody, as podman says it

	const app, none = "/v2/dev/acme/app/manifests/1", "/v2/dev/acme/none/manifests/1"
	for _, tt := range []struct {
		f              *fixture
		method, path   string
		status         int
		code, whyOrNot string
	}{
		{ci, "GET", app, 200, "", ""},
		{ci, "DELETE", app, 403, "DENIED", "ci may not delete"},
		{ci, "GET", none, 404, "MANIFEST_UNKNOWN", ""},
		{ci, "PUT", "/v2/dev/beta/app/manifests/1", 403, "DENIED", "ci may not push dev/beta/app"},
		{ci, "PUT", "/v2/release/acme/app/manifests/1", 403, "DENIED", "sluice promote"},
		// Nothing tells apart what is there and what is not.
		{reader, "GET", app, 403, "DENIED", "reader may not pull dev/acme/app"},
		{reader, "GET", none, 403, "DENIED", "reader may not pull dev/acme/none"},
		{reader, "GET", "/v2/dev/acme/app/tags/list", 403, "DENIED", ""},
		{reader, "GET", "/v2/dev/acme/app/referrers/" + d.String(), 403, "DENIED", ""},
		{reader, "GET", "/v2/dev/acme/app/blobs/" + d.String(), 403, "DENIED", ""},
		{reader, "POST", "/v2/dev/acme/app/blobs/uploads/", 403, "DENIED", ""},
		{reader, "GET", "/v2/release/acme/app/manifests/1", 200, "", ""},
		{reader, "GET", "/v2/app/manifests/1", 404, "NAME_UNKNOWN", "dev, stable, release"},
		{nobody, "GET", app, 403, "DENIED", ""},
		{nobody, "GET", "/v2/_catalog", 403, "DENIED", ""},
		{nobody, "PUT", "/v2/release/acme/app/manifests/1", 403, "DENIED", "nobody may do nothing"},
		{anonymous, "GET", app, 401, "UNAUTHORIZED", ""},
		{anonymous, "GET", none, 401, "UNAUTHORIZED", ""},
		{anonymous, "PUT", app, 401, "UNAUTHORIZED", ""},
		{anonymous, "GET", "/v2/release/public/app/manifests/1", 200, "", ""},
		{anonymous, "GET", "/v2/release/acme/app/manifests/1", 401, "UNAUTHORIZED", ""},
		{f.as("blind"), "PUT", "/v2/release/acme/app/manifests/.bad", 403, "DENIED", "sluice promote"},
		{f.as("blind"), "GET", "/v2/release/acme/app/manifests/1", 403, "DENIED", "blind may not pull"},
		{other, "GET", "/v2/dev/other/app/manifests/1", 404, "MANIFEST_UNKNOWN", ""},
		{other, "GET", "/v2/dev/other/deep/app/manifests/1", 403, "DENIED", ""},
		{cleaner, "PUT", app, 403, "DENIED", "cleaner may not push"},
		{cleaner, "DELETE", app, 202, "", ""},
	} {
		got := tt.f.do(tt.method, tt.path, nil)
		if got.status != tt.status || got.code() != tt.code || !strings.Contains(string(got.body), tt.whyOrNot) {
			t.Errorf("%s %s %s: got %d %s, want %d %s %q", tt.f.user, tt.method, tt.path, got.status, got.body, tt.status, tt.code, tt.whyOrNot)
		}
	}
}

func TestAuthOfUploadsAndMounts(t *testing.T) {
	f := newAuthFixture(t, nil)
	ci, other := f.as("ci"), f.as("other")
	secret := ci.push("dev/acme/secret", "secret")
	shared := ci.push("dev/acme/shared", "shared")

	at := other.begin("dev/acme/shared")
	for _, method := range []string{"GET", "PATCH", "PUT", "DELETE"} { // another user's session
		ci.want(ci.do(method, at+"?digest="+shared.String(), strings.NewReader("x")), 404, "BLOB_UPLOAD_UNKNOWN")
	}
	other.want(other.do("PATCH", at, strings.NewReader("x")), 202, "")

	mount := "/v2/dev/other/app/blobs/uploads/?mount="
	got := other.want(other.do("POST", mount+secret.String()+"&from=dev/acme/secret", nil), 202, "")
	none := other.want(other.do("POST", mount+zeros+"&from=dev/acme/none", nil), 202, "")
	if len(got.header) != len(none.header) {
		t.Errorf("got %v for a blob that is there, %v for one that is not", got.header, none.header)
	}
	other.wantNoBlob("dev/other/app", secret)
	other.want(other.do("POST", mount+shared.String()+"&from=dev/acme/shared", nil), 201, "")
	other.wantBlob("dev/other/app", "shared")
}

func TestCatalogListsWhatMayBePulled(t *testing.T) {
	f := newAuthFixture(t, nil)
	f.as("ci").pushImage("dev/acme/app", "1", "layer", "")
	f.as("other").pushImage("dev/other/app", "1", "layer", "")
	f.promoted("release", "public/app", "1", "layer")
	for user, want := range map[string]string{
		"ci": `["dev/acme/app","release/public/app"]`, "other": `["dev/other/app"]`, "reader": `["release/public/app"]`, "": `["release/public/app"]`,
		"cleaner": `["dev/acme/app","dev/other/app","release/public/app"]`,
	} {
		for _, query := range []string{"", "?n=3"} {
			if got := f.as(user).do("GET", "/v2/_catalog"+query, nil); !strings.Contains(string(got.body), want) || got.header.Get("Link") != "" {
				t.Errorf("%q: got %s %v, want %s", user, got.body, got.header["Link"], want)
			}
		}
	}
}

func TestTierOnItsOwnHost(t *testing.T) {
	f := newAuthFixture(t, func(c *Config) {
		c.Hosts = map[string]string{"Release.example.com": "release", "dev.example.com": "dev"}
	})
	d := f.promoted("release", "acme/app", "1", "layer")
	reader := f.as("reader")
	reader.host = "release.example.com:443"
	got := reader.want(reader.do("GET", "/v2/acme/app/manifests/1", nil), 200, "")
	if got.header.Get("Docker-Content-Digest") != d.String() {
		t.Errorf("got %v", got.header)
	}
	if got := reader.do("GET", "/v2/_catalog", nil); !strings.Contains(string(got.body), `["acme/app"]`) {
		t.Errorf("got %s", got.body)
	}
	if got := reader.do("GET", "/v2/acme/app/tags/list", nil); !strings.Contains(string(got.body), `{"name":"acme/app","tags":["1"]}`) {
		t.Errorf("got %s", got.body)
	}
	reader.want(reader.do("GET", "/v2/release/acme/app/manifests/1", nil), 404, "MANIFEST_UNKNOWN") // the name is all repository
	reader.want(reader.do("PUT", "/v2/acme/app/manifests/1", nil), 403, "DENIED")
	reader.want(reader.do("GET", "/v2/"+strings.Repeat("a", 250)+"/manifests/1", nil), 400, "NAME_INVALID")
	ci := f.as("ci")
	ci.host = "dev.example.com"
	ci.pushImage("acme/app", "1", "layer", "")
	ci.host = ""
	ci.want(ci.do("GET", "/v2/dev/acme/app/manifests/1", nil), 200, "")

	if _, err := New(Config{Registry: f.server.registry, Log: f.server.log, Hosts: map[string]string{"x": "dev"}}); err == nil {
		t.Error("hosts were taken without authentication")
	}
	if _, err := New(Config{Registry: f.server.registry, Log: f.server.log, Auth: f.server.config.Auth, Hosts: map[string]string{"x": "none"}}); err == nil {
		t.Error("a host was taken for a tier that there is not")
	}
}

func TestForeignPagesCannotWrite(t *testing.T) {
	f := newAuthFixture(t, nil).as("ci")
	f.want(f.do("POST", "/v2/dev/acme/app/blobs/uploads/", nil, "Sec-Fetch-Site", "cross-site"), 403, "DENIED")
	f.want(f.do("POST", "/v2/dev/acme/app/blobs/uploads/", nil, "Origin", "https://evil.example"), 403, "DENIED")
	f.want(f.do("POST", "/v2/dev/acme/app/blobs/uploads/", nil, "Sec-Fetch-Site", "same-origin"), 202, "")
}

func TestWebPages(t *testing.T) {
	web := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", Principal(r.Context())) })
	f := newAuthFixture(t, func(c *Config) { c.Web = web })
	if got := f.as("ci").do("GET", "/tiers", nil); got.status != 200 || string(got.body) != "hello ci" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	f.as("ci").want(f.as("ci").do("POST", "/tiers", nil), 405, "UNSUPPORTED")
	f.as("ci").want(f.as("ci").do("GET", "/v2/nothing", nil), 404, "NOT_FOUND")
	open := newFixture(t, func(c *Config) { c.Web = web })
	if got := open.do("GET", "/", nil); string(got.body) != "hello anonymous" {
		t.Errorf("got %s", got.body)
	}
}

func TestHtpasswd(t *testing.T) {
	hash := string(must(bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)))
	for content, want := range map[string]string{
		"a:" + hash + "\n# note\n\nb:" + strings.Replace(hash, "$2a$", "$2y$", 1) + "\r\n": "",
		"":                              "",
		"a:" + hash + "\nb:{SHA}abc\n":  "line 2",
		"a:" + hash + "\nb:$apr1$x$y\n": "line 2",
		"a:plain":                       "line 1",
		"a":                             "line 1",
		":" + hash:                      "line 1",
		"a b:" + hash:                   "line 1",
		" a:" + hash:                    "line 1",
		"a:" + hash + "x":               "",
		"a:" + hash + "\n\na:" + hash:   "line 3",
		"anonymous:" + hash:             "line 1",
		"*:" + hash:                     "line 1",
		"a:" + strings.Replace(hash, "$04$", "$31$", 1): "line 1",
	} {
		_, err := parseHtpasswd([]byte(content))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", content, err, want)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestGrantsAreChecked(t *testing.T) {
	users := htpasswdFile(t, "ci")
	for name, g := range map[string]Grant{
		"no users":       {Actions: []Action{ActionPull}},
		"no actions":     {Users: []string{"ci"}},
		"unknown user":   {Users: []string{"cy"}, Actions: []Action{ActionPull}},
		"unknown action": {Users: []string{"ci"}, Actions: []Action{"pul"}},
		"bad pattern":    {Users: []string{"ci"}, Actions: []Action{ActionPull}, Repositories: []string{"[a"}},
	} {
		if _, err := NewAuth(AuthConfig{Htpasswd: users, Grants: []Grant{g}}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := NewAuth(AuthConfig{Htpasswd: users + "-missing"}); err == nil {
		t.Error("a missing file was taken")
	}
}

// TestMayPromote: a requester who is gone, or has lost a right, promotes nothing more.
func TestMayPromote(t *testing.T) {
	path := htpasswdFile(t, "ci", "manager", "gone")
	a, err := NewAuth(AuthConfig{Htpasswd: path, Grants: []Grant{
		{Users: []string{Everyone, Anonymous}, Tiers: []string{"dev"}, Actions: []Action{ActionPull}},
		{Users: []string{"manager", Anonymous}, Repositories: []string{"acme/*"}, Actions: []Action{ActionPromote}},
		{Users: []string{Everyone}, Repositories: []string{"all/*"}, Actions: []Action{ActionPromote}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	without, err := os.ReadFile(htpasswdFile(t, "ci", "manager"))
	if err != nil {
		t.Fatal(err)
	}
	if !a.MayPromote("gone", "dev", "stable", "all/app") {
		t.Error("all may promote all/app")
	}
	if err := os.WriteFile(path, without, 0o600); err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	a.looked = time.Time{} // as if it were long ago
	a.mu.Unlock()
	for _, tt := range []struct {
		user, from, repository string
		want                   bool
	}{
		{"manager", "dev", "acme/app", true},
		{Anonymous, "dev", "acme/app", true},
		{"ci", "dev", "all/app", true},
		{"ci", "dev", "acme/app", false},         // may not promote
		{"manager", "stable", "acme/app", false}, // may not pull
		{"gone", "dev", "all/app", false},
	} {
		if got := a.MayPromote(tt.user, tt.from, "stable", tt.repository); got != tt.want {
			t.Errorf("%s, %s/%s: got %v", tt.user, tt.from, tt.repository, got)
		}
	}
}

func TestPasswordFileIsReloaded(t *testing.T) {
	path := htpasswdFile(t, "ci")
	var failed []error
	a, err := NewAuth(AuthConfig{Htpasswd: path, Failed: func(err error) { failed = append(failed, err) }})
	if err != nil {
		t.Fatal(err)
	}
	login := func(user string) bool {
		a.mu.Lock()
		a.looked = time.Time{} // as if it were long ago
		a.mu.Unlock()
		r, _ := http.NewRequest("GET", "/", nil)
		r.SetBasicAuth(user, user+"-secret")
		_, err := a.user(r)
		return err == nil
	}
	if !login("ci") || login("new") {
		t.Fatal("want ci alone")
	}
	data, err := os.ReadFile(htpasswdFile(t, "new", "more"))
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{string(data), "broken"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if login("ci") || !login("new") { // the password of ci had been remembered
			t.Error("want new alone")
		}
	}
	if len(failed) == 0 {
		t.Error("nobody was told of the broken file")
	}
}

func FuzzParseHtpasswd(f *testing.F) {
	f.Add([]byte("a:$2y$05$abcdefghijklmnopqrstuuu3yMpMYGJzzYVn8aVZt9Rzq9uJXvHkq\n# b\n"))
	f.Add([]byte("a:b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		hashes, err := parseHtpasswd(data)
		if err != nil {
			return
		}
		for name, hash := range hashes {
			if _, err := bcrypt.Cost(hash); err != nil || name == "" || strings.ContainsAny(name, ": \t\r\n") {
				t.Fatalf("%q: %q passed", name, hash)
			}
		}
	})
}
