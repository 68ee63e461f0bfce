package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/server"
)

// write puts a file into dir and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDefaults(t *testing.T) {
	cfg, err := loadConfig(configSource{})
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:5000" || cfg.Data != filepath.Join(wd, "sluice-data") || !cfg.Web || !cfg.open() || !cfg.embedsEtcd() || !cfg.embedsS3() {
		t.Errorf("defaults are %+v", cfg)
	}
	var names []string
	for _, tier := range cfg.Tiers {
		names = append(names, tier.Name+"<"+tier.From+":"+tier.S3.Bucket)
	}
	if got := strings.Join(names, " "); got != "dev<:sluice-dev stable<dev:sluice-stable release<stable:sluice-release" {
		t.Errorf("tiers are %s", got)
	}
}

// The sample is the documentation: it loads as it is, with everything in it switched on,
// and it names every setting there is.
func TestSampleConfig(t *testing.T) {
	raw, err := samples.ReadFile("samples/sluice.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cfg, err := loadConfig(configSource{file: write(t, dir, configName, string(raw))})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Data != dir || cfg.Tiers[1].Policy != filepath.Join(dir, "policies", "stable.yaml") {
		t.Errorf("data is %s, the policy of stable %s; want both in %s", cfg.Data, cfg.Tiers[1].Policy, dir)
	}
	full, err := loadConfig(configSource{file: write(t, dir, "full.yaml", switchOn(string(raw)))})
	if err != nil {
		t.Fatalf("with everything switched on: %v", err)
	}
	if len(full.Etcd.Endpoints) != 3 || full.Tiers[0].S3.Region != "us-east-1" || len(full.Auth.Grants) != 2 || len(full.Signing.Keys) != 3 {
		t.Errorf("with everything switched on it is %+v", full)
	}
	for _, name := range settings(reflect.TypeFor[Config]()) {
		if !regexp.MustCompile(`\b` + name + `:`).Match(raw) {
			t.Errorf("the sample does not name %s", name)
		}
	}
}

// switchOn takes the comment signs from the settings of the sample.
func switchOn(text string) string {
	var out []string
	inTiers := false
	for _, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "tiers:"):
			inTiers = true
		case strings.HasPrefix(line, "#signing:"):
			inTiers = false
		}
		switch {
		case inTiers && strings.HasPrefix(line, "#   "):
			line = " " + line[1:]
		case regexp.MustCompile(`^#(\S|  )`).MatchString(line):
			line = line[1:]
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// settings lists the keys of a configuration type and of what is in it.
func settings(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		field := t.Field(i)
		name := field.Tag.Get("yaml")
		if name == "" {
			continue
		}
		names = append(names, name)
		inner := field.Type
		for inner.Kind() == reflect.Slice || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			names = append(names, settings(inner)...)
		}
	}
	return names
}

func TestPathsAreRelativeToTheFile(t *testing.T) {
	dir := t.TempDir()
	file := write(t, dir, "etc/sluice.yaml", `
data: ../data
etcd: {endpoints: ["https://e:2379"], ca: ca.pem, passwordFile: /run/pw, username: u}
tiers:
  - {name: dev, push: true, s3: {endpoint: "http://s3", accessKeyFile: a, secretKeyFile: b}}
  - {name: stable, from: dev, policy: p.yaml}
signing: {keys: {stable: {file: s.key, passwordFile: s.pw}}}
`)
	cfg, err := loadConfig(configSource{file: file, environ: map[string]string{"SLUICE_ETCD_CERT": "here.pem", "SLUICE_ETCD_KEY": "here.key"}})
	if err != nil {
		t.Fatal(err)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	etc := filepath.Join(dir, "etc")
	for got, want := range map[string]string{
		cfg.Data:                                filepath.Join(dir, "data"),
		cfg.Etcd.CA:                             filepath.Join(etc, "ca.pem"),
		cfg.Etcd.PasswordFile:                   "/run/pw",
		cfg.Etcd.Cert:                           filepath.Join(wd, "here.pem"),
		cfg.Tiers[0].S3.AccessKeyFile:           filepath.Join(etc, "a"),
		cfg.Tiers[1].Policy:                     filepath.Join(etc, "p.yaml"),
		cfg.Signing.Keys["stable"].File:         filepath.Join(etc, "s.key"),
		cfg.Signing.Keys["stable"].PasswordFile: filepath.Join(etc, "s.pw"),
		cfg.Tiers[1].S3.Bucket:                  "sluice-stable",
		strings.Join(cfg.Etcd.Endpoints, " "):   "https://e:2379",
		strings.Join(cfg.signingNames(), " "):   "stable ledger",
		cfg.Ledger.Tier:                         "stable",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestEnvironmentOverrides(t *testing.T) {
	file := write(t, t.TempDir(), configName, `
listen: 127.0.0.1:1
tiers:
  - {name: dev, push: true, s3: {bucket: mine}}
  - {name: stable, from: dev}
`)
	src := configSource{file: file, environ: map[string]string{
		"SLUICE_LISTEN":                     "127.0.0.1:2",
		"SLUICE_DATA":                       "/data",
		"SLUICE_URL":                        "https://r.example.com/",
		"SLUICE_WEB":                        "false",
		"SLUICE_ETCD_ENDPOINTS":             "http://a:1,http://b:2",
		"SLUICE_TIERS_0_S3_ENDPOINT":        "http://s3:1",
		"SLUICE_TIERS_0_S3_ACCESS_KEY_FILE": "/a",
		"SLUICE_TIERS_0_S3_SECRET_KEY_FILE": "/b",
		"SLUICE_TIERS_1_MOVING_TAGS":        "latest,v*",
	}}
	cfg, err := loadConfig(src)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Listen != "127.0.0.1:2" || cfg.Data != "/data" || cfg.URL != "https://r.example.com" || cfg.Web || len(cfg.Etcd.Endpoints) != 2 {
		t.Errorf("it is %+v", cfg)
	}
	if s := cfg.Tiers[0].S3; s.Endpoint != "http://s3:1" || s.Bucket != "mine" || cfg.Tiers[0].Name != "dev" {
		t.Errorf("tier 0 is %+v", cfg.Tiers[0])
	}
	if got := strings.Join(cfg.Tiers[1].MovingTags, " "); got != "latest v*" {
		t.Errorf("moving tags are %q", got)
	}
	src.listen, src.data = "127.0.0.1:3", "/flag"
	if cfg, err = loadConfig(src); err != nil || cfg.Listen != "127.0.0.1:3" || cfg.Data != "/flag" {
		t.Errorf("flags do not override the environment: %+v, %v", cfg, err)
	}
	src.environ = map[string]string{"SLUICE_WEB": "perhaps"}
	if _, err = loadConfig(src); err == nil || !strings.Contains(err.Error(), "perhaps") {
		t.Errorf("a variable that is no bool gives %v", err)
	}
}

func TestConfigRefuses(t *testing.T) {
	auth := "auth: {htpasswd: u, grants: [{users: [a], actions: [pull]}]}\nurl: https://r\n"
	for name, tc := range map[string]struct{ yaml, want string }{
		"unknown key":          {"listen: 127.0.0.1:1\nlisten2: x", `line 2: unknown key "listen2"`},
		"unknown nested key":   {"tiers:\n- name: dev\n  push: true\n  s3: {buckets: x}", `line 4: unknown key "buckets"`},
		"repeated key":         {"data: a\ndata: b", "already defined"},
		"empty key":            {"listen:\ndata: a", "line 1: listen: is empty"},
		"empty section":        {"auth: {}", "line 1: auth: is empty"},
		"empty item":           {"etcd:\n  endpoints: [~]", "line 2: etcd.endpoints[0]: is empty"},
		"anchor":               {"data: &a x\nurl: *a", "anchors and aliases are not allowed"},
		"two documents":        {"data: a\n---\ndata: b", "something follows"},
		"not YAML":             {"data: [", "line 1"},
		"wrong kind":           {"tiers: dev", "line 1"},
		"not an address":       {"listen: here", `line 1: listen: "here": want HOST:PORT`},
		"open to others":       {"listen: 0.0.0.0:5000\nurl: https://r", "line 1: listen: \"0.0.0.0:5000\" is not a loopback address, and without an auth section"},
		"open by name":         {"listen: registry:5000\nurl: https://r", "not a loopback address"},
		"no URL":               {strings.Replace(auth, "url: https://r\n", "listen: :5000", 1), "url: is missing"},
		"URL with a path":      {"url: https://r/x", "line 1: url:"},
		"etcd endpoint":        {"etcd: {endpoints: [etcd-0]}", "etcd.endpoints[0]"},
		"etcd half a pair":     {"etcd: {endpoints: [\"https://e\"], cert: c}", "cert and key belong together"},
		"etcd half a login":    {"etcd: {endpoints: [\"https://e\"], username: c}", "username and passwordFile"},
		"etcd without servers": {"etcd: {ca: c}", "etcd.endpoints: is missing"},
		"tier name":            {"tiers: [{name: a/b, push: true}]", "tiers[0].name"},
		"tier named ledger":    {"tiers: [{name: dev, push: true}, {name: ledger, from: dev}]", "take another name"},
		"ledger nowhere":       {"ledger: {tier: top}", "ledger.tier: \"top\" is no tier"},
		"two tiers":            {"tiers: [{name: dev, push: true}, {name: dev, push: true}]", "names two tiers"},
		"no way in":            {"tiers: [{name: dev, from: x}]", "lowest tier"},
		"push and from":        {"tiers: [{name: dev, push: true}, {name: b, from: dev, push: true}]", "exclude each other"},
		"from above":           {"tiers: [{name: dev, push: true}, {name: b, from: c}, {name: c, from: dev}]", "no tier that stands before"},
		"from missing":         {"tiers: [{name: dev, push: true}, {name: b}]", "tiers[1].from: is missing"},
		"dev follows":          {"tiers: [{name: dev, push: true, followEvidence: true}]", "follows nothing"},
		"policy of dev":        {"tiers: [{name: dev, push: true, policy: p}]", "guards nothing"},
		"moving tags":          {"tiers: [{name: dev, push: true}, {name: b, from: dev, movingTags: [\"[\"]}]", "movingTags[0]"},
		"host is a URL":        {auth + "tiers: [{name: dev, push: true, host: \"https://x\"}]", "want a host name"},
		"host without auth":    {"tiers: [{name: dev, push: true, host: x}]", "without an auth section"},
		"two hosts":            {auth + "tiers: [{name: dev, push: true, host: x}, {name: b, from: dev, host: x}]", "host of tier dev too"},
		"one embedded bucket":  {"tiers: [{name: dev, push: true, s3: {bucket: x}}, {name: b, from: dev, s3: {bucket: x}}]", "bucket of tier dev too"},
		"S3 without server":    {"tiers: [{name: dev, push: true, s3: {region: x}}]", "s3.endpoint: is missing"},
		"S3 endpoint":          {"tiers: [{name: dev, push: true, s3: {endpoint: s3, accessKeyFile: a, secretKeyFile: b}}]", "s3.endpoint: \"s3\""},
		"S3 without keys":      {"tiers: [{name: dev, push: true, s3: {endpoint: \"http://s3\"}}]", "accessKeyFile: is missing"},
		"signs for nothing":    {"signing: {keys: {dev: {file: x}}}", "want stable, release, ledger"},
		"key without file":     {"signing: {keys: {stable: {passwordFile: x}}}", "stable.file: is missing"},
		"no users":             {"auth: {grants: [{users: [a], actions: [pull]}]}", "auth.htpasswd: is missing"},
		"no grants":            {"auth: {htpasswd: u}", "auth.grants: is missing"},
		"grant to nobody":      {"auth: {htpasswd: u, grants: [{actions: [pull]}]}", "users: is missing"},
		"grant of nothing":     {"auth: {htpasswd: u, grants: [{users: [a]}]}", "actions: is missing"},
		"unknown action":       {"auth: {htpasswd: u, grants: [{users: [a], actions: [read]}]}", `"read"`},
		"grant in no tier":     {"auth: {htpasswd: u, grants: [{users: [a], tiers: [prod], actions: [pull]}]}", `"prod" is no tier`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, tc.yaml)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
		})
	}
}

func TestConfigReportsEverythingAtOnce(t *testing.T) {
	_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, "listen: here\nurl: there\netcd: {ca: x}\n")})
	if err == nil {
		t.Fatal("it loads")
	}
	for _, want := range []string{"line 1: listen", "line 2: url", "line 3: etcd"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in: %v", want, err)
		}
	}
}

// Whatever the server knows as an action, a grant can allow.
func TestConfigActions(t *testing.T) {
	grants := "auth: {htpasswd: u, grants: [{users: [a], actions: " + strings.ReplaceAll(fmt.Sprintf("%q", server.Actions()), " ", ",") + "}]}\nurl: https://r\n"
	if _, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, grants)}); err != nil {
		t.Errorf("%s: %v", grants, err)
	}
}

func FuzzConfigParse(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:1\ntiers: [{name: dev, push: true}]"))
	f.Add([]byte("a: &x [*x]"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg := defaultConfig()
		if cfg.parse(raw) == nil {
			cfg.fill()
			_ = cfg.check() // whatever it says, it says it
		}
	})
}
