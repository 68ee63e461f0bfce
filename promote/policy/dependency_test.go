package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote/attest"
)

var (
	threeTiers = map[string]string{"dev": "", "stable": "dev", "release": "stable", "lab": "dev"}
	registryX  = Registry{Hosts: []string{"registry.example.com:5000"}, Tiers: threeTiers}
)

const (
	hexA    = "8d6059fa2ba1ec4f4bb8e1d9b8cb3f6a6f5bd2d9e4b7c9d0e1f2a3b4c5d6e7f8"
	hexB    = "3ff0ec8bb2d1e5b8e0a5e2f8d5d0e6f1a9c3b7a1c2d3e4f5061728394a5b6c7d"
	sha256A = "sha256:" + hexA
	hostX   = "registry.example.com:5000"
)

// TestAsks: which manifests of the registry a dependency may be, in every form that tools
// write. ours is marked with a !.
func TestAsks(t *testing.T) {
	for _, tt := range []struct{ uri, digest, want string }{
		{hostX + "/dev/acme/base@" + sha256A, "", "!acme/base"},
		{hostX + "/dev/acme/base:1.0@" + sha256A, "", "!acme/base"},
		{hostX + "/dev/acme/base:1.0", hexA, "!acme/base"},
		{"Registry.Example.com:5000/stable/acme/base", hexA, "!acme/base"},
		{"oci://" + hostX + "/dev/acme/base@" + sha256A, "", "!acme/base"},
		{"OCI://" + hostX + "/dev/acme/base", hexA, "!acme/base"},
		{"docker://" + hostX + "/dev/acme/base:1.0", hexA, "!acme/base"},
		{"docker-image://" + hostX + "/dev/acme/base:1.0@" + sha256A, hexA, "!acme/base"},
		{"https://" + hostX + "/v2/dev/acme/base/manifests/" + sha256A, "", "!acme/base"},
		{"https://" + hostX + "/v2/dev/acme/base/manifests/1.0", hexA, "!acme/base"},
		{"pkg:docker/registry.example.com%3A5000/dev/acme/base@1.0?platform=linux%2Famd64", hexA, "!acme/base"},
		{"pkg:docker/registry.example.com:5000/dev/acme/base@1.0?digest=" + sha256A, "", "!acme/base"},
		{"pkg:docker/dev/acme/base@sha256%3A" + hexA + "?repository_url=registry.example.com:5000", "", "!acme/base"},
		{"pkg:oci/base@sha256%3A" + hexA + "?repository_url=registry.example.com:5000/dev/acme/base&tag=1", "", "!acme/base"},
		{"pkg:oci/base@sha256%3A" + hexA + "?repository_url=https://registry.example.com:5000/dev/acme", "", "!acme/base"},
		// By another name: it matters where the same bytes lie here.
		{"registry.internal/dev/acme/base@" + sha256A, "", "dev/acme/base acme/base"},
		{"docker.io/acme/base:1.0", hexA, "acme/base"},
		{"pkg:docker/alpine@3.20?platform=linux%2Famd64", hexA, "library/alpine"},
		{"bash@" + sha256A, hexA, "library/bash"},
		{"gcr.io/cloud-builders/docker@" + sha256A, "", "cloud-builders/docker"},
		{"gcr.io/cloud-builders/docker:latest", "", ""},
		// No image, and not of this registry.
		{"git+https://" + hostX + "/acme/app@refs/heads/main", "", ""},
		{"https://dl.example.org/tool.tar.gz", hexA, ""},
		{"pkg:npm/%40acme/lib@1.0", hexA, ""},
		{"file:///src/x", hexA, ""},
		{"", hexA, ""},
		{"lib", hexA, ""},
		// Of this registry, and not to be told: the whole does not hold.
		{hostX + "/dev/acme/base:1.0", "", "names no digest"},
		{hostX + "/dev/acme/base@sha256:abc", "", "cannot be read"},
		{hostX + "/dev/acme/base@" + sha256A, hexB, "names two digests"},
		{hostX + "/dev/acme/base", strings.ToUpper(hexA), "its digest cannot be read"},
		{hostX + "/elsewhere/acme/base@" + sha256A, "", `has no tier "elsewhere" (its tiers are dev, lab, release, stable)`},
		{hostX + "/dev@" + sha256A, "", `has no tier`},
		{hostX + "/dev/Acme/base@" + sha256A, "", "in a way that cannot be read"},
		{"https://" + hostX + "/v2/dev/acme/base/blobs/" + sha256A, "", "no manifest in it"},
		{"https://" + hostX + "/dev/acme/base", hexA, "no manifest in it"},
		{"pkg:generic/tool?download_url=https://" + hostX + "/v2/x", hexA, "no manifest in it"},
		{"pkg:docker/registry.example.com%3A5000%2Fdev/", hexA, "in a way that cannot be read"},
		{"pkg:docker/dev/acme/base@sha256%3A" + hexA + "?repository_url=registry.example.com:5000&digest=sha256:" + hexB, "", "names two digests"},
		{"https://" + hostX + "0/x?" + hostX, hexA, "no manifest in it"},
		{"https://" + hostX + "0/x?x." + hostX + "&" + hostX + ".x", hexA, ""},
		{"x:y:" + hostX + "/dev/acme/base", hexA, "in a way that cannot be read"},
	} {
		d := dependency{uri: tt.uri, digests: map[string]string{}}
		if tt.digest != "" {
			d.digests["sha256"] = tt.digest
		}
		asks, err := registryX.asks(d)
		var names []string
		for _, a := range asks {
			name := a.Repository
			if a.ours {
				name = "!" + name
			}
			if a.Digest != sha256A {
				t.Errorf("%s: digest %s", tt.uri, a.Digest)
			}
			names = append(names, name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: %q, want %q", tt.uri, got, tt.want)
		}
	}
	located := dependency{uri: "pkg:generic/base", location: "oci://" + hostX + "/dev/acme/base", digests: map[string]string{"sha256": hexA}}
	if asks, err := registryX.asks(located); err != nil || len(asks) != 1 || !asks[0].ours {
		t.Errorf("a downloadLocation is passed over: %v, %v", asks, err)
	}
}

func TestReaches(t *testing.T) {
	round := Registry{Tiers: map[string]string{"a": "b", "b": "a"}}
	for _, tt := range []struct {
		r           Registry
		tier, least string
		want        bool
	}{
		{registryX, "stable", "stable", true}, {registryX, "release", "stable", true}, {registryX, "release", "dev", true},
		{registryX, "dev", "stable", false}, {registryX, "stable", "release", false}, {registryX, "lab", "stable", false},
		{registryX, "stable", "lab", false}, {registryX, "unknown", "stable", false}, {round, "a", "c", false}, {Registry{}, "dev", "stable", false},
	} {
		if got := tt.r.reaches(tt.tier, tt.least); got != tt.want {
			t.Errorf("%s reaches %s: %v", tt.tier, tt.least, got)
		}
	}
}

func TestDependencies(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	uses := func(uris ...string) attest.Evidence {
		var dependencies []map[string]any
		for _, uri := range uris {
			dependencies = append(dependencies, map[string]any{"uri": uri, "digest": map[string]any{"sha256": hexA}})
		}
		return s.signed(strings.Join(uris, " "), provenanceV1, built(builderA, app, mainRef, slsa, dependencies...), "a")
	}
	nothing := built(builderA, app, mainRef, slsa)
	delete(nothing["buildDefinition"].(map[string]any), "resolvedDependencies")
	base := Dependency{"acme/base", sha256A}
	ours := hostX + "/dev/acme/base:1.0"
	rule := "      from: {authorities: [a]}\n      provenance: {dependencies: {tier: stable, hosts: [registry.internal]}}\n"
	for name, tt := range map[string]struct {
		evidence attest.Evidence
		standing map[Dependency][]string
		allowed  bool
		message  string
	}{
		"none of this registry":            {uses("pkg:docker/alpine@3.20"), map[Dependency][]string{{"library/alpine", sha256A}: {}}, true, "by a"},
		"stable":                           {uses(ours), map[Dependency][]string{base: {"dev", "stable"}}, true, "by a"},
		"release alone":                    {uses(ours), map[Dependency][]string{base: {"release"}}, true, "by a"},
		"dev only":                         {uses(ours), map[Dependency][]string{base: {"dev"}}, false, "dependency " + ours + ": acme/base@sha256:8d6059fa2ba1… stands in dev only, want stable or above: promote it first"},
		"a tier beside":                    {uses(ours), map[Dependency][]string{base: {"dev", "lab"}}, false, "stands in dev and lab only"},
		"nowhere":                          {uses(ours), map[Dependency][]string{base: {}}, false, "acme/base@sha256:8d6059fa2ba1… stands in no tier of this registry, want stable or above"},
		"another repository's":             {uses(ours), map[Dependency][]string{{"acme/other", sha256A}: {"stable"}}, false, "was not looked up"},
		"not looked up":                    {uses(ours), nil, false, "was not looked up"},
		"one of two":                       {uses("stable", hostX+"/stable/acme/tool:2", ours), map[Dependency][]string{{"acme/tool", sha256A}: {"stable"}, base: {"dev"}}, false, "acme/base@"},
		"unreadable":                       {uses(hostX + "/dev/Acme/base"), nil, false, "in a way that cannot be read"},
		"another name of this registry":    {uses("registry.internal/dev/acme/base:1.0"), map[Dependency][]string{base: {"dev"}}, false, "stands in dev only"},
		"another host, the same bytes":     {uses("mirror.example/acme/base:1.0"), map[Dependency][]string{base: {"dev"}}, false, "stands in dev only"},
		"another host, elsewhere":          {uses("mirror.example/acme/base:1.0"), map[Dependency][]string{base: {}}, true, "by a"},
		"another host, a tier in its name": {uses("mirror.example/dev/acme/base:1.0"), map[Dependency][]string{{"dev/acme/base", sha256A}: {}, base: {"dev"}}, false, "stands in dev only"},
		"none listed":                      {s.signed("none", provenanceV1, nothing, "a"), nil, false, "it lists no resolved dependency"},
	} {
		t.Run(name, func(t *testing.T) {
			p := load(t, keys, builds(rule))
			facts := s.facts(tt.evidence)
			facts.Registry, facts.Standing = registryX, tt.standing
			decided(t, p.Evaluate(facts), tt.allowed, tt.message)
			facts.Registry = Registry{}
			decided(t, p.Evaluate(facts), false, "the registry was not asked")
			if looked := p.Dependencies(facts.Evidence, registryX); tt.allowed {
				for d := range tt.standing {
					if !slices.Contains(looked, d) {
						t.Errorf("%v is not among what is looked up: %v", d, looked)
					}
				}
			}
		})
	}
	p := load(t, keys, builds(strings.Replace(rule, "tier: stable", "tier: gold", 1)))
	facts := s.facts(uses(ours))
	facts.Registry = registryX
	decided(t, p.Evaluate(facts), false, "this registry has no tier gold")
}

// TestWhatIsLookedUp: only what was signed, each once, and never without an end.
func TestWhatIsLookedUp(t *testing.T) {
	keys := buildKeys(t)
	s := scene{t, keys}
	rule := "      from: {authorities: [a]}\n      provenance: {dependencies: {tier: stable}}\n"
	p := load(t, keys, builds(rule))
	var many []map[string]any
	for i := range maxStanding + 5 {
		many = append(many, map[string]any{"uri": fmt.Sprintf("%s/dev/acme/base%d", hostX, i), "digest": map[string]any{"sha256": hexA}})
	}
	signed := s.signed("many", provenanceV1, built(builderA, app, mainRef, slsa, many...), "a")
	if got := p.Dependencies([]attest.Evidence{signed, signed}, registryX); len(got) != maxStanding {
		t.Errorf("%d are looked up", len(got))
	}
	facts := s.facts(signed)
	facts.Registry, facts.Standing = registryX, map[Dependency][]string{}
	for _, d := range p.Dependencies(facts.Evidence, registryX) {
		facts.Standing[d] = []string{"stable"}
	}
	decided(t, p.Evaluate(facts), false, "was not looked up: at most 1000 are")
	few := s.signed("few", provenanceV1, built(builderA, app, mainRef, slsa, many[:2]...))
	if got := p.Dependencies([]attest.Evidence{few, broken(signed, "x")}, registryX); got != nil {
		t.Errorf("what nobody signed is looked up: %v", got)
	}
	plain := load(t, keys, builds(strings.Replace(rule, "dependencies: {tier: stable}", "", 1)))
	if plain.AsksDependencies() || plain.Dependencies([]attest.Evidence{signed}, registryX) != nil || plain.CheckTiers(Registry{}) != nil {
		t.Error("a policy that does not ask asks")
	}
	for tier, want := range map[string]string{"stable": "", "dev": "tier dev is pushed to", "gold": "there is no tier gold"} {
		err := load(t, keys, builds(strings.Replace(rule, "tier: stable", "tier: "+tier, 1))).CheckTiers(registryX)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", tier, err)
		}
	}
	for spec, want := range map[string]string{"{}": "want the name of a tier", "{tier: a/b}": "want the name of a tier", "{tier: stable, hosts: [\"https://x\"]}": "want a host", "{tier: stable, hosts: [X.example]}": "want a host", "{tier: stable, hosts: []}": "is empty"} {
		_, err := Load([]byte(builds(strings.Replace(rule, "{tier: stable}", spec, 1))), keys.read)
		if problem := wants(err, oci.ErrPolicyInvalid, want); problem != nil {
			t.Errorf("%s: %v", spec, problem)
		}
	}
}

// FuzzParseImage: a name that is read names a repository that can be, and a digest.
func FuzzParseImage(f *testing.F) {
	for _, seed := range []string{hostX + "/dev/acme/base:1.0@" + sha256A, "oci://" + hostX + "/dev/acme/base", "https://h/v2/a/b/manifests/1",
		"pkg:docker/registry.example.com%3A5000/dev/acme/base@1.0?digest=" + sha256A, "pkg:oci/base@sha256%3A" + hexA + "?repository_url=h/dev/acme/base", "bash@" + sha256A} {
		f.Add(seed, hexA)
	}
	f.Fuzz(func(t *testing.T, uri, digest string) {
		d := dependency{uri: uri, digests: map[string]string{"sha256": digest}}
		asks, err := registryX.asks(d)
		for _, a := range asks {
			if _, wrong := oci.ParseDigest(a.Digest.String()); wrong != nil || err != nil || oci.CheckName(a.Repository) != nil {
				t.Fatalf("%q asks %+v, %v", uri, a, err)
			}
		}
		if _, err := parseSource(uri); err == nil && strings.Contains(uri, "..") && strings.Contains(uri, "/../") && !strings.ContainsAny(uri, "@#") {
			t.Fatalf("%q climbs", uri)
		}
	})
}
