package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/memory"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

const readyText = "sluice is ready on http://"

// hostIn takes the address out of the line that says that the server is ready.
func hostIn(t *testing.T, output string) string {
	t.Helper()
	_, rest, ok := strings.Cut(output, readyText)
	if !ok {
		t.Fatalf("no address in %s", output)
	}
	return strings.TrimSpace(rest)
}

// The main job with the command's own verbs, against a server in another process, which
// is stopped and started on the way.
func TestServe(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	began := time.Now()
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	output := server.until(t, readyText)
	t.Logf("ready in %s", time.Since(began))
	if !strings.Contains(output, "First start") || !strings.Contains(output, filepath.Join(data, "keys", "ci.key")) {
		t.Errorf("the first start says\n%s", output)
	}
	host := hostIn(t, output)
	pushSample(t, host)
	refusedFirst(t, host)
	attestSample(t, host, data)

	if code := server.stop(t); code != exitDone {
		t.Fatalf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
	if !strings.Contains(server.stderr.String(), "anyone who reaches this loopback address may do anything") {
		t.Errorf("it does not say that it is open:\n%s", &server.stderr)
	}
	// On the same address: the summaries name it.
	t.Setenv("SLUICE_TIERS_1_MOVING_TAGS", "latest")
	server = spawn(t, nil, "serve", "--data", data, "--listen", host)
	if output := server.until(t, readyText); strings.Contains(output, "First start") {
		t.Errorf("the second start says\n%s", output)
	}
	promoteSample(t, host)
	verifySample(t, host)
	rollBackSample(t, host, data)
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
}

func pushSample(t *testing.T, host string) {
	t.Helper()
	store := memory.New()
	index, err := buildImage(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	c := docker(t, host)
	repo, err := c.repository("dev/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	if err := oras.CopyGraph(t.Context(), store, repo, index, oras.DefaultCopyGraphOptions); err != nil {
		t.Fatal(err)
	}
	if err := repo.Tag(t.Context(), index, "1.0"); err != nil {
		t.Fatal(err)
	}
}

// expect runs the command and looks at its exit code and output.
func expect(t *testing.T, code int, want string, args ...string) string {
	t.Helper()
	got, stdout, stderr := sluice(t, args...)
	if got != code || !strings.Contains(stdout+stderr, want) {
		t.Errorf("sluice %s\nexit code %d, want %d and %q in\n%s%s", strings.Join(args, " "), got, code, want, stdout, stderr)
	}
	return stdout
}

func refusedFirst(t *testing.T, host string) {
	t.Helper()
	ref := host + "/dev/acme/app:1.0"
	expect(t, exitDone, "Nothing is attached", "evidence", ref)
	expect(t, exitRefused, "✗  provenance", "promote", ref, "--to", "stable")
	expect(t, exitRefused, "would not rise", "promote", ref, "--to", "stable", "--dry-run")
	expect(t, exitFailed, "no such artifact", "evidence", host+"/dev/acme/app:2.0")
	expect(t, exitDone, "stable wants provenance, sbom, tested", "status", host+"/acme/app")
	expect(t, exitFailed, "leave the tier out: sluice status "+host+"/acme/app", "status", host+"/dev/acme/app")
}

func attestSample(t *testing.T, host, data string) {
	t.Helper()
	attestAs(t, host, data, "1.0")
	expect(t, exitDone, "signed by ci", "evidence", host+"/dev/acme/app:1.0")
	expect(t, exitDone, "would let", "policy", "test", filepath.Join(data, "policies", "stable.yaml"), "--ref", host+"/dev/acme/app:1.0")
	strict := write(t, data, "policies/strict.yaml", strings.ReplaceAll(readFile(t, filepath.Join(data, "policies", "stable.yaml")), "scope: index", "scope: each"))
	expect(t, exitRefused, "linux/arm64", "policy", "test", strict, "--ref", host+"/dev/acme/app:1.0")
}

// attestAs attaches what the sample policies ask for.
func attestAs(t *testing.T, host, data, tag string) {
	t.Helper()
	key := filepath.Join(data, "keys", "ci.key")
	for _, s := range demoStatements(time.Now()) {
		body, err := json.Marshal(s.predicate)
		if err != nil {
			t.Fatal(err)
		}
		file := write(t, t.TempDir(), s.file, string(body))
		expect(t, exitDone, "now says", "attest", host+"/dev/acme/app:"+tag, "--type", s.alias, "--predicate", file, "--key", key)
	}
}

// rollBackSample moves a tag on to another artifact, back, and forward again.
func rollBackSample(t *testing.T, host, data string) {
	t.Helper()
	c, latest := docker(t, host), host+"/stable/acme/app:latest"
	first, err := c.resolve(t.Context(), oci.Reference{Host: host, Tier: "dev", Repository: "acme/app", Tag: "1.0"})
	if err != nil {
		t.Fatal(err)
	}
	repo, err := c.repository("dev/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := content.Successors(t.Context(), repo, first)
	if err != nil {
		t.Fatal(err)
	}
	second := platforms[0]
	if err := repo.Tag(t.Context(), second, "2.0"); err != nil {
		t.Fatal(err)
	}
	attestAs(t, host, data, "2.0")
	expect(t, exitDone, "rose to stable", "promote", host+"/dev/acme/app:1.0", "--to", "stable", "--tag", "latest")
	expect(t, exitFailed, "no promotion has put the tag on anything else", "rollback", latest)
	expect(t, exitDone, "rose to stable", "promote", host+"/dev/acme/app:2.0", "--to", "stable", "--tag", "latest")

	expect(t, exitDone, "would rise", "rollback", latest, "--dry-run")
	for _, d := range []digest.Digest{first.Digest, second.Digest} {
		expect(t, exitDone, latest[len(host)+1:]+" is "+short(d)+" again", "rollback", latest, "--reason", "it is slow")
	}
	expect(t, exitDone, " is "+short(first.Digest)+" again", "rollback", latest, "--to", "1.0")
	expect(t, exitFailed, "TAG_IMMUTABLE", "rollback", host+"/stable/acme/app:1.0", "--to", second.Digest.String())
	expect(t, exitFailed, "by pushing", "rollback", host+"/dev/acme/app:1.0")
	expect(t, exitUsage, "without a digest", "rollback", latest+"@"+first.Digest.String())
	expect(t, exitUsage, "neither a digest nor a tag", "rollback", latest, "--to", "sha256:1")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func promoteSample(t *testing.T, host string) {
	t.Helper()
	var first, again promote.Promotion
	for _, p := range []*promote.Promotion{&first, &again} {
		out := expect(t, exitDone, "Succeeded", "promote", host+"/dev/acme/app:1.0", "--to", "stable", "--reason", "test", "-o", "json")
		if err := json.Unmarshal([]byte(out), p); err != nil {
			t.Fatal(err)
		}
	}
	if first.ID != again.ID || first.Summary == "" {
		t.Errorf("asked twice it is done twice, or has no summary: %+v, %+v", first, again)
	}
	expect(t, exitFailed, "", "promote", host+"/dev/acme/app:1.0", "--to", "release") // a tier cannot be skipped
	expect(t, exitDone, "rose to release", "promote", host+"/stable/acme/app:1.0", "--to", "release", "--tag", "1.0", "--tag", "one")
	expect(t, exitDone, "stands in release", "status", host+"/acme/app")
}

func verifySample(t *testing.T, host string) {
	t.Helper()
	c := docker(t, host)
	keys, err := c.publicKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	file := map[string]string{}
	for _, k := range keys {
		file[k.Tier] = write(t, t.TempDir(), k.Tier+".pub", k.PublicKey)
	}
	expect(t, exitDone, "is verified", "verify", host+"/release/acme/app:one", "--key", file["release"])
	expect(t, exitDone, "is verified", "verify", host+"/stable/acme/app:1.0", "--key", file["stable"])
	expect(t, exitFailed, "no authority signed it", "verify", host+"/release/acme/app:1.0", "--key", file["stable"])
	expect(t, exitFailed, "no verification summary", "verify", host+"/dev/acme/app:1.0", "--key", file["stable"])
	expect(t, exitFailed, "not verified", "verify", host+"/release/acme/app:1.0", "--key", file["release"], "--verifier", "https://other/tiers/release")
}

func TestServeRefusesToStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"open to others":  {[]string{"--listen", "0.0.0.0:0"}, "without an auth section"},
		"address taken":   {[]string{"--listen", taken.Addr().String()}, "another program listens there"},
		"bad file":        {[]string{"--config", write(t, dir, "bad.yaml", "lissten: x")}, `unknown key "lissten"`},
		"no such policy":  {[]string{"--listen", "127.0.0.1:0", "--config", write(t, dir, "policy.yaml", "data: d\ntiers: [{name: dev, push: true}, {name: stable, from: dev, policy: none.yaml}]")}, "none.yaml"},
		"no such etcd":    {[]string{"--listen", "127.0.0.1:0", "--config", write(t, dir, "etcd.yaml", "etcd: {endpoints: [\"http://127.0.0.1:1\"]}")}, "etcd [http://127.0.0.1:1] does not answer"},
		"no secret there": {[]string{"--listen", "127.0.0.1:0", "--config", write(t, dir, "s3.yaml", "tiers: [{name: dev, push: true, s3: {endpoint: \"http://127.0.0.1:1\", accessKeyFile: none, secretKeyFile: none}}]")}, "s3.accessKeyFile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := spawn(t, nil, append([]string{"serve", "--data", t.TempDir()}, tc.args...)...)
			if code := p.wait(); code != exitFailed || !strings.Contains(p.stderr.String(), tc.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, exitFailed, tc.want, &p.stderr)
			}
		})
	}
}

// With users nobody else does anything, and docker's credentials open the door.
func TestServeWithUsers(t *testing.T) {
	data := t.TempDir()
	write(t, data, "users", "ci:$2a$04$OjJdpU24XNMxPeoiOqKUq.wEipZMDogmI1UY8NkRR0Kn4FboSqaui\n") // secret
	write(t, data, configName, "url: http://127.0.0.1\nauth:\n  htpasswd: users\n  grants:\n    - {users: [ci], tiers: [dev], actions: [pull, push]}\n    - {users: [anonymous], tiers: [release], actions: [pull]}\n")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	expect(t, exitFailed, "docker login "+host, "evidence", host+"/dev/acme/app:1.0")
	resp, err := http.Get("http://" + host + "/readyz")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("readiness needs a user: %v, %v", resp, err)
	}
	login := t.TempDir()
	write(t, login, "config.json", `{"auths":{"`+host+`":{"auth":"Y2k6c2VjcmV0"}}}`)
	t.Setenv("DOCKER_CONFIG", login)
	pushSample(t, host)
	expect(t, exitDone, "Nothing is attached", "evidence", host+"/dev/acme/app:1.0")
	expect(t, exitFailed, "DENIED", "promote", host+"/dev/acme/app:1.0", "--to", "stable")
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
}
