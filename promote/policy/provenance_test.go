package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/promote/attest"
)

// sample reads a predicate of testdata/provenance, in the shape that the tool writes.
func sample(t testing.TB, name string) (predicateType string, predicate map[string]any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "provenance", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := attest.DecodeStrict(data, attest.MaxDepth)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	predicateType, _ = tree["predicateType"].(string)
	predicate, _ = tree["predicate"].(map[string]any)
	return predicateType, predicate
}

const (
	app      = "https://github.com/acme/app"
	buildkit = "4b220de5058abfd01ff619c9d2ff6b09a049bea0"
	slsa     = "d37a7f740ee7404914456f24dcd90e865a0509e8"
	tekton   = "50c56a48cfb3a5a80fa36ed91c739bdac8381cbe"
	catalog  = "28b123d9ce7e5a2b0dfdb1cbd1b0b6a7b7f2a1c3"
	generatr = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/"
)

func TestReadProvenance(t *testing.T) {
	for _, tt := range []struct {
		name         string
		builder      string
		sources      []source
		sourceless   string
		dependencies int
		finished     string
	}{
		{"github-workflow-v1", app + "/.github/workflows/release.yml@refs/heads/main", []source{{app, "refs/heads/main", "8f70009fde0c94ade6ce2a054b94718c819126ec"}}, "", 1, ""},
		{"slsa-generator-container-v0.2", generatr + "generator_container_slsa3.yml@refs/tags/v1.10.0", []source{{app, "refs/tags/v13.0.30", slsa}}, "", 1, ""},
		{"slsa-generator-docker-v1", generatr + "builder_container-based_slsa3.yml@refs/tags/v1.10.0", []source{{app, "refs/heads/main", slsa}}, "", 2, ""},
		{"slsa-generator-delegator-v1", generatr + "builder_maven_slsa3.yml@refs/tags/v1.10.0", []source{{app, "refs/tags/v14.2", slsa}}, "", 1, ""},
		{"buildkit-v0.2", app + "/actions/runs/3709599520", []source{{app, "refs/heads/main", buildkit}}, "", 4, "2026-11-21T11:05:00.5Z"},
		{"buildkit-local-v0.2", "https://ci.example.com/buildkit", nil, "names no source repository", 1, "2026-11-21T11:05:00Z"},
		{"buildkit-v1", app + "/actions/runs/3709599520", []source{{app, "refs/tags/v0.11.0", buildkit}}, "", 2, "2026-11-21T11:05:00.9Z"},
		{"tekton-v0.2", "https://tekton.dev/chains/v2", []source{{app, "", tekton}}, "", 2, "2026-11-21T11:05:00Z"},
		{"tekton-v1", "https://tekton.dev/chains/v2", []source{{"https://github.com/acme/pipelines", "", catalog}, {app, "", tekton}}, "", 4, "2026-11-21T11:05:00Z"},
		{"cloud-build-v1", "https://cloudbuild.googleapis.com/GoogleHostedWorker", []source{{app, "refs/heads/main", "01ce393d04eb6df2a7b2b3e95d4126e687afb7ae"}}, "", 2, "2026-11-21T11:05:00.169342Z"},
		{"gitlab-v1", "https://gitlab.example.com/acme/app/-/runners/42", []source{{"https://gitlab.example.com/acme/app", "", buildkit}}, "", 1, "2026-11-21T11:05:00Z"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := readProvenance(sample(t, tt.name))
			if err != nil {
				t.Fatal(err)
			}
			if p.builder != tt.builder || len(p.dependencies) != tt.dependencies {
				t.Errorf("builder %q, %d dependencies", p.builder, len(p.dependencies))
			}
			if got := fmt.Sprint(p.sources); got != fmt.Sprint(tt.sources) {
				t.Errorf("sources %v, want %v", p.sources, tt.sources)
			}
			if (p.sourceless == nil) != (tt.sourceless == "") || p.sourceless != nil && !strings.Contains(p.sourceless.Error(), tt.sourceless) {
				t.Errorf("sourceless: %v", p.sourceless)
			}
			finished := ""
			if !p.finished.IsZero() {
				finished = p.finished.Format(time.RFC3339Nano)
			}
			if finished != tt.finished {
				t.Errorf("finished %q, want %q", finished, tt.finished)
			}
		})
	}
}

// TestReadProvenanceRefuses: what is of another kind than the specification says is not
// passed over.
func TestReadProvenanceRefuses(t *testing.T) {
	many := strings.TrimSuffix(strings.Repeat("{},", maxDependencies+1), ",")
	for name, tt := range map[string]struct{ predicateType, predicate, want string }{
		"another type":          {"https://slsa.dev/provenance/v0.1", `{}`, "no SLSA provenance that can be read"},
		"empty":                 {provenanceV1, `{}`, "names no builder"},
		"no builder v0.2":       {provenanceV02, `{"buildType":"x"}`, "names no builder"},
		"null builder":          {provenanceV1, `{"buildDefinition":{"buildType":"x"},"runDetails":{"builder":null}}`, "names no builder"},
		"no build type":         {provenanceV1, `{"runDetails":{"builder":{"id":"b"}}}`, "names no buildType"},
		"builder is a string":   {provenanceV1, `{"runDetails":{"builder":"b"}}`, "builder is no object"},
		"builder id is a list":  {provenanceV1, `{"runDetails":{"builder":{"id":["b"]}}}`, "id is no string"},
		"dependencies no list":  {provenanceV1, `{"buildDefinition":{"buildType":"x","resolvedDependencies":{}},"runDetails":{"builder":{"id":"b"}}}`, "resolvedDependencies is no list"},
		"dependency no object":  {provenanceV1, `{"buildDefinition":{"buildType":"x","resolvedDependencies":["x"]},"runDetails":{"builder":{"id":"b"}}}`, "resolvedDependencies[0] is no object"},
		"digest no object":      {provenanceV1, `{"buildDefinition":{"buildType":"x","resolvedDependencies":[{"digest":"x"}]},"runDetails":{"builder":{"id":"b"}}}`, "digest is no object"},
		"digest no string":      {provenanceV02, `{"buildType":"x","materials":[{"digest":{"sha256":1}}],"builder":{"id":"b"}}`, "sha256 is no string"},
		"finished no time":      {provenanceV02, `{"buildType":"x","metadata":{"buildFinishedOn":"yesterday"},"builder":{"id":"b"}}`, "buildFinishedOn is no time"},
		"too many dependencies": {provenanceV02, `{"buildType":"x","materials":[` + many + `],"builder":{"id":"b"}}`, "at most 10000 are read"},
	} {
		t.Run(name, func(t *testing.T) {
			predicate, err := attest.DecodeStrict([]byte(tt.predicate), attest.MaxDepth)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := readProvenance(tt.predicateType, predicate); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// TestSources: how build types name their source, and what makes it untellable.
func TestSources(t *testing.T) {
	const workflow = "https://actions.github.io/buildtypes/workflow/v1"
	for name, tt := range map[string]struct{ predicateType, buildType, parameters, dependencies, want string }{
		"workflow":                    {provenanceV1, workflow, `{"workflow":{"repository":"` + app + `","ref":"refs/heads/x"}}`, ``, "[{" + app + " refs/heads/x }]"},
		"workflow without repository": {provenanceV1, workflow, `{"workflow":{"ref":"refs/heads/x"}}`, ``, "names no source repository"},
		"workflow is a string":        {provenanceV1, workflow, `{"workflow":"` + app + `"}`, ``, "workflow is no object"},
		"commit of the same":          {provenanceV1, workflow, `{"workflow":{"repository":"` + app + `","ref":"refs/heads/x"}}`, `{"uri":"git+` + app + `@refs/heads/x","digest":{"gitCommit":"` + slsa + `"}}`, "[{" + app + " refs/heads/x " + slsa + "}]"},
		"commit of another":           {provenanceV1, workflow, `{"workflow":{"repository":"` + app + `"}}`, `{"uri":"git+` + app + `2","digest":{"gitCommit":"` + slsa + `"}}`, "[{" + app + "  }]"},
		"commit of another ref":       {provenanceV1, workflow, `{"workflow":{"repository":"` + app + `","ref":"refs/heads/x"}}`, `{"uri":"git+` + app + `@refs/heads/y","digest":{"gitCommit":"` + slsa + `"}}`, "[{" + app + " refs/heads/x }]"},
		"two commits":                 {provenanceV1, workflow, `{"workflow":{"repository":"` + app + `"}}`, `{"uri":"git+` + app + `","digest":{"gitCommit":"` + slsa + `"}},{"uri":"git+` + app + `","digest":{"gitCommit":"` + tekton + `"}}`, "has two commits"},
		"two commits in one":          {provenanceV1, "https://example.com/build", `{}`, `{"uri":"git+` + app + `","digest":{"gitCommit":"` + slsa + `","sha1":"` + tekton + `"}}`, "names two commits"},
		"commit in upper case":        {provenanceV1, "https://example.com/build", `{}`, `{"uri":"git+` + app + `","digest":{"sha1":"` + strings.ToUpper(slsa) + `"}}`, "no git commit in lower-case hex"},
		"unknown type: all of git":    {provenanceV1, "https://example.com/build", `{"source":"` + app + `"}`, `{"uri":"git+https://h/a"},{"uri":"https://h/b","digest":{"gitCommit":"` + slsa + `"}},{"uri":"https://h/c.tar","digest":{"sha256":"00"}}`, "[{https://h/a  } {https://h/b  " + slsa + "}]"},
		"unknown type: nothing":       {provenanceV1, "https://example.com/build", `{"source":"` + app + `"}`, `{"uri":"https://h/c.tar","digest":{"sha256":"00"}}`, "nothing among its dependencies was taken from a git"},
		"unknown type: not readable":  {provenanceV1, "https://example.com/build", `{}`, `{"uri":"git@github.com:acme/app"}`, "is no URL"},
		"v0.2: config source counts":  {provenanceV02, "https://example.com/build", `{"configSource":{"uri":"https://h/config"}}`, `{"uri":"git+https://h/a"}`, "[{https://h/config  } {https://h/a  }]"},
		"v0.2: config is no git":      {provenanceV02, "https://example.com/build", `{"configSource":{"uri":"oci://h/config"}}`, `{"uri":"git+https://h/a"}`, "its configSource: \"oci://h/config\" is no git repository's URL"},
		"buildkit: commit as ref":     {provenanceV02, "https://mobyproject.org/buildkit@v1", `{"configSource":{"uri":"` + app + `.git#` + slsa + `","digest":{"sha1":"` + slsa + `"}}}`, ``, "[{" + app + "  " + slsa + "}]"},
		"buildkit: another commit":    {provenanceV02, "https://mobyproject.org/buildkit@v1", `{"configSource":{"uri":"` + app + `.git#` + slsa + `","digest":{"sha1":"` + tekton + `"}}}`, ``, "names two commits"},
		"buildkit: a tarball":         {provenanceV02, "https://mobyproject.org/buildkit@v1", `{"configSource":{"uri":"https://h/context.tar?x=1"}}`, ``, "has a query"},
	} {
		t.Run(name, func(t *testing.T) {
			field, predicate := "resolvedDependencies", `{"buildDefinition":{"buildType":"%s","externalParameters":%s,"%s":[%s]},"runDetails":{"builder":{"id":"b"}}}`
			if tt.predicateType == provenanceV02 {
				field, predicate = "materials", `{"buildType":"%s","invocation":%s,"%s":[%s],"builder":{"id":"b"}}`
			}
			tree, err := attest.DecodeStrict(fmt.Appendf(nil, predicate, tt.buildType, tt.parameters, field, tt.dependencies), attest.MaxDepth)
			if err != nil {
				t.Fatal(err)
			}
			p, err := readProvenance(tt.predicateType, tree)
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(p.sources, p.sourceless); !strings.Contains(got, tt.want) {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if (p.sourceless == nil) != (len(p.sources) > 0) {
				t.Errorf("sources %v beside %v", p.sources, p.sourceless)
			}
		})
	}
}

func TestParseSource(t *testing.T) {
	for text, want := range map[string]string{
		"https://github.com/acme/app":                         "https://github.com/acme/app  ",
		"git+https://GitHub.com:443/acme/app.git@refs/tags/1": "https://github.com/acme/app refs/tags/1 ",
		"HTTPS://github.com/acme/App/":                        "https://github.com/acme/App  ",
		"https://github.com/acme/app.git.git":                 "https://github.com/acme/app.git  ",
		"git+https://github.com/acme/app@v1@v2":               "https://github.com/acme/app v1@v2 ",
		"git+https://github.com/acme/app@refs/heads/x#sub/d":  "https://github.com/acme/app refs/heads/x ",
		"https://user:secret@github.com/acme/app":             "https://github.com/acme/app  ",
		"git+ssh://git@github.com:22/acme/app.git":            "ssh://github.com/acme/app  ",
		"git://github.com/acme/app":                           "git://github.com/acme/app  ",
		"http://github.com:80/acme/app":                       "http://github.com/acme/app  ",
		"https://github.com@evil.example/acme/app":            "https://evil.example/acme/app  ",
		"https://github.com:8443/acme/app":                    "https://github.com:8443/acme/app  ",

		"":                                       "no git repository's URL",
		"acme/app":                               "no git repository's URL",
		"git@github.com:acme/app.git":            "is no URL",
		"git+file:///src":                        "no git repository's URL",
		"pkg:github/acme/app":                    "no git repository's URL",
		"https:///acme/app":                      "names no host",
		"https:github.com/acme/app":              "names no host",
		"https://github.com":                     "names no repository",
		"https://github.com/":                    "names no repository",
		"https://github.com/.git":                "names no repository",
		"https://github.com/acme/app?ref=x":      "has a query",
		"https://github.com/acme/app@main":       "has a path that is escaped or has an @",
		"https://github.com/acme%2Fapp":          "has a path that is escaped",
		"https://github.com/acme/../evil/app":    "climbing part",
		"https://github.com/acme//app":           "empty or a climbing part",
		"https://github.com/acme/./app":          "climbing part",
		`https://github.com/acme\..\evil`:        "escaped",
		"https://github.com./acme/app":           "host that cannot be compared",
		"https://github.com%2Fevil.com/acme/app": "is no URL",
		"https://gıthub.com/acme/app":            "host that cannot be compared",
		"https://github.com/acme/\x00app":        "is no URL",
	} {
		s, err := parseSource(text)
		got := s.repository + " " + s.ref + " " + s.commit
		if err != nil {
			got = err.Error()
		}
		if strings.Contains(want, "://") && got != want || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzProvenance: nothing that a predicate holds brings the reader down, and what it reads
// is compared in one form.
func FuzzProvenance(f *testing.F) {
	files, err := filepath.Glob("testdata/provenance/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no samples", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	registry := Registry{Hosts: []string{"registry.example.com"}, Tiers: map[string]string{"dev": "", "stable": "dev"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := attest.DecodeStrict(data, attest.MaxDepth)
		if err != nil {
			return
		}
		predicateType, _ := tree["predicateType"].(string)
		predicate, _ := tree["predicate"].(map[string]any)
		ReadSummary(predicate)
		p, err := readProvenance(predicateType, predicate)
		if err != nil {
			return
		}
		if p.builder == "" || p.buildType == "" || (p.sourceless == nil) != (len(p.sources) > 0) {
			t.Fatalf("half a provenance: %+v", p)
		}
		for _, s := range p.sources {
			again, err := parseSource(s.repository)
			if err != nil || again.repository != s.repository && !strings.HasSuffix(s.repository, ".git") {
				t.Fatalf("%q reads as %q, %v", s.repository, again.repository, err)
			}
		}
		for _, d := range p.dependencies {
			asks, err := registry.asks(d)
			for _, a := range asks {
				if err != nil || a.Repository == "" || a.Digest == "" {
					t.Fatalf("%v asks %+v, %v", d, asks, err)
				}
			}
			if brief(d.String()) != d.String() && len(d.String()) < 200 {
				t.Fatalf("%q is not fit for a message", d)
			}
		}
	})
}
