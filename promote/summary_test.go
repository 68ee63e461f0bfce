package promote_test

import (
	"crypto"
	"encoding/json"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// What a deployment system reads of the summary, with nothing but the published key.
func TestSummary(t *testing.T) {
	g := newGate(t, nil)
	image := g.platforms("1.0")
	provenance := g.provenance(image)
	for _, tier := range []string{"stable", "release"} {
		p := g.promoteOK(request("1.0", tier))
		info := g.policyOf(tier)
		var key promote.PublicKey
		for _, k := range g.engine.Keys() {
			if k.Tier == tier && k.Use == "summary" {
				key = k
			}
		}
		if key.VerifierID != "https://registry.example.com/tiers/"+tier {
			t.Errorf("verifier %q", key.VerifierID)
		}
		ev := g.summary(tier, image.Digest, p.Summary, key.PublicKey)
		if !ev.Verified() || ev.PredicateType != promote.SummaryType || ev.Signers[0].KeyID != key.KeyID {
			t.Fatalf("the summary does not verify: %+v", ev)
		}
		predicate, _ := json.Marshal(ev.Statement["predicate"])
		var got struct {
			Verifier                        struct{ ID string }
			TimeVerified                    time.Time
			ResourceURI, VerificationResult string
			SLSAVersion                     string
			VerifiedLevels                  []string
			Policy                          struct {
				URI    string
				Digest map[string]string
			}
			InputAttestations []struct {
				URI    string
				Digest map[string]string
			}
			Sluice struct{ Promotion, From, To, RequestedBy, Ledger string }
		}
		if err := json.Unmarshal(predicate, &got); err != nil {
			t.Fatal(err)
		}
		if got.Verifier.ID != key.VerifierID || got.VerificationResult != "PASSED" || got.SLSAVersion == "" || time.Since(got.TimeVerified) > time.Minute {
			t.Errorf("got %s", predicate)
		}
		if want := "https://registry.example.com/" + tier + "/" + repository; got.ResourceURI != want {
			t.Errorf("resource %q, want %q", got.ResourceURI, want)
		}
		if got.Policy.Digest["sha256"] != info.Digest.Encoded() || !strings.HasSuffix(got.Policy.URI, "/api/v1/policies/"+info.Name) {
			t.Errorf("policy %+v, want %s %s", got.Policy, info.Name, info.Digest)
		}
		if len(got.InputAttestations) != 1 || got.InputAttestations[0].Digest["sha256"] != provenance.Digest.Encoded() {
			t.Errorf("inputs %+v, want %s", got.InputAttestations, provenance.Digest)
		}
		if got.Sluice.Promotion != p.ID || got.Sluice.To != tier || got.Sluice.RequestedBy != "manager" || got.Sluice.From == "" || got.Sluice.Ledger != "registry.example.com/ledger" {
			t.Errorf("sluice %+v", got.Sluice)
		}
		if !slices.Equal(got.VerifiedLevels, []string{"SLUICE_TIER_" + strings.ToUpper(tier)}) {
			t.Errorf("levels %v", got.VerifiedLevels)
		}
		// Another tier's key does not verify it.
		for _, other := range g.engine.Keys() {
			if other.KeyID != key.KeyID && g.summary(tier, image.Digest, p.Summary, other.PublicKey).Verified() {
				t.Errorf("the summary for %s passes for one of %s", tier, other.Tier)
			}
		}
	}
}

func (g *gate) policyOf(tier string) promote.PolicyInfo {
	g.Helper()
	all, err := g.engine.Policies(g.Context())
	g.must(err)
	for _, info := range all {
		if info.To == tier {
			return info
		}
	}
	g.Fatalf("no policy for %s", tier)
	return promote.PolicyInfo{}
}

// summary verifies the summary with a key alone.
func (g *gate) summary(tier string, subject, manifest digest.Digest, pem string) attest.Evidence {
	g.Helper()
	key, err := attest.ParsePublicKey([]byte(pem))
	g.must(err)
	found, err := attest.Find(g.Context(), g.repo(tier), subject, attest.Limits{})
	g.must(err)
	for _, attachment := range found {
		if attachment.Manifest.Digest == manifest {
			return attest.Verify(attachment, subject, []attest.Authority{{Name: "registry", Principal: "registry", Keys: []attest.Key{key}}}, time.Now())
		}
	}
	g.Fatalf("%s has no summary %s", tier, manifest)
	return attest.Evidence{}
}

func TestNew(t *testing.T) {
	g := bareGate(t, nil)
	good := promote.Config{Registry: g.registry, Signers: g.signers, URL: "https://registry.example.com", Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for name, edit := range map[string]func(*promote.Config){
		"no registry":                  func(c *promote.Config) { c.Registry = nil },
		"no logger":                    func(c *promote.Config) { c.Log = nil },
		"no url":                       func(c *promote.Config) { c.URL = "" },
		"no scheme":                    func(c *promote.Config) { c.URL = "registry.example.com" },
		"ftp":                          func(c *promote.Config) { c.URL = "ftp://registry.example.com" },
		"no host":                      func(c *promote.Config) { c.URL = "https:///x" },
		"no key":                       func(c *promote.Config) { delete(c.Signers, "release") },
		"one key":                      func(c *promote.Config) { c.Signers["release"] = c.Signers["stable"] },
		"the ledger's key is a tier's": func(c *promote.Config) { c.Signers[promote.LedgerSigner] = c.Signers["stable"] },
	} {
		t.Run(name, func(t *testing.T) {
			config := good
			config.Signers = map[string]crypto.Signer{"stable": g.signers["stable"], "release": g.signers["release"]}
			edit(&config)
			if engine, err := promote.New(config); err == nil {
				engine.Close()
				t.Error("it starts")
			}
		})
	}
	good.URL += "/"
	engine, err := promote.New(good)
	g.must(err)
	defer engine.Close()
	for _, key := range engine.Keys() {
		if strings.Contains(key.VerifierID, ".com//") {
			t.Errorf("verifier %q", key.VerifierID)
		}
	}
}

// Every end has one event, with all that it takes to do it again in an empty catalog.
func TestEvents(t *testing.T) {
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	refused, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
	g.must(err)
	g.ended(refused)
	att := g.att(image, g.envelope(image, provenanceType))
	p := g.promoteOK(promote.Request{Repository: repository, Reference: "1.0", To: "stable", Tags: []string{"1.0", "latest"}, Reason: "ready"})
	g.ended(p)
	events := g.events("promotion.")
	for i, want := range []struct {
		promote.Promotion
		kind tiers.EventType
	}{{refused, tiers.EventRefused}, {p, tiers.EventPromoted}} {
		e := events[i]
		if e.Type != want.kind || e.Cause != want.ID || e.Actor != "manager" || e.Tier != "stable" || e.From != "dev" ||
			e.Repository != repository || e.Digest != image.Digest || !slices.Equal(e.Tags, want.Tags) || !strings.Contains(e.Policy, "dev-to-stable@sha256:") {
			t.Errorf("event %+v", e)
		}
		var body promote.Promotion
		if err := json.Unmarshal(e.Body, &body); err != nil || body.ID != want.ID || body.State != want.State || body.Verdict == nil || body.Summary != want.Summary || body.Reason != want.Reason {
			t.Errorf("body %s, %v", e.Body, err)
		}
	}

	record := g.record(events[1])
	if record.Promotion != p.ID {
		t.Errorf("record of %s", record.Promotion)
	}
	manifests := map[digest.Digest]promote.RecordManifest{}
	for _, m := range record.Manifests {
		manifests[m.Digest] = m
	}
	if len(manifests) != 3 || len(record.Manifests) != 3 || manifests[p.Summary].Subject != image.Digest || manifests[image.Digest].Size != image.Size || manifests[att.Digest].MediaType == "" {
		t.Errorf("manifests %+v", record.Manifests)
	}
	tags := map[string]digest.Digest{}
	for _, tag := range record.Tags {
		tags[tag.Tag] = tag.Digest
	}
	if len(tags) != 3 || tags["1.0"] != image.Digest || tags["latest"] != image.Digest || tags[cosignTag(image.Digest, ".att")] != att.Digest {
		t.Errorf("tags %v", tags)
	}
	// Every content that the manifests need is listed with the object that holds it.
	contents := map[digest.Digest]promote.RecordContent{}
	for _, c := range record.Contents {
		contents[c.Digest] = c
		if got := g.object(c.Key); digest.FromBytes(got) != c.Digest || int64(len(got)) != c.Size {
			t.Errorf("content %s is not in %s", c.Digest, c.Key)
		}
	}
	for _, m := range record.Manifests {
		parsed, err := oci.ParseManifest(m.MediaType, g.object(contents[m.Digest].Key))
		g.must(err)
		for _, b := range parsed.Blobs() {
			if contents[b.Digest].Key == "" {
				t.Errorf("blob %s of %s is not listed", b.Digest, m.Digest)
			}
		}
	}
}

// record reads the document of an event.
func (g *gate) record(e tiers.Event) (record promote.Record) {
	g.Helper()
	body := g.object(e.Key)
	if digest.FromBytes(body) != e.Document || e.Store != g.tier("stable").Store() {
		g.Errorf("the document %s is not in %s of %s", e.Document, e.Key, e.Store)
	}
	g.must(json.Unmarshal(body, &record))
	return record
}

func (g *gate) tier(name string) *tiers.Tier {
	g.Helper()
	tier, err := g.registry.Tier(name)
	g.must(err)
	return tier
}

// object reads an object of stable's bucket.
func (g *gate) object(key string) []byte {
	g.Helper()
	rc, err := g.tier("stable").Bucket.Open(g.Context(), key, 0, -1)
	if err != nil {
		g.Fatalf("object %q: %v", key, err)
	}
	defer rc.Close()
	body, err := io.ReadAll(rc)
	g.must(err)
	return body
}
