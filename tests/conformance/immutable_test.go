package conformance_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/server"
	"sluice.dev/sluice/tiers"
)

const provenance = "https://slsa.dev/provenance/v1"

// gated is a registry whose gates open for what ci has signed.
type gated struct {
	client
	ci crypto.Signer
}

func newKey(tb testing.TB) crypto.Signer {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func newGated(tb testing.TB) *gated {
	tb.Helper()
	g := &gated{ci: newKey(tb)}
	pem, err := attest.MarshalPublicKey(g.ci.Public())
	if err != nil {
		tb.Fatal(err)
	}
	quoted, err := json.Marshal(string(pem))
	if err != nil {
		tb.Fatal(err)
	}
	g.registry = newRegistry(tb, func(c *server.Config) {
		engine, err := promote.New(promote.Config{Registry: c.Registry, URL: "https://registry.example.com", Log: slog.New(slog.DiscardHandler), Alone: true,
			Signers: map[string]crypto.Signer{"stable": newKey(tb), "release": newKey(tb)}})
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(engine.Close)
		for _, gate := range [][2]string{{"dev", "stable"}, {"stable", "release"}} {
			policy := fmt.Sprintf(`{apiVersion: sluice.dev/v1alpha1, kind: TierPolicy, metadata: {name: %s-to-%s}, spec: {from: %[1]s, to: %[2]s,
				authorities: [{name: ci, key: {pem: %[3]s}}], require: [{name: built-by-ci, predicateTypes: [%[4]q], from: {authorities: [ci]}}]}}`, gate[0], gate[1], quoted, provenance)
			if _, err := engine.SetPolicy(tb.Context(), "setup", gate[0]+"-to-"+gate[1], []byte(policy), ""); err != nil {
				tb.Fatal(err)
			}
		}
		c.Engine = engine
	})
	return g
}

// attested pushes an image to dev with what the gates ask for.
func (g *gated) attested(tb testing.TB, name, tag, layer string) digest.Digest {
	tb.Helper()
	d := g.image(tb, "dev/"+name, tag, layer)
	repo, err := g.tiers.Repository("dev", name, "ci")
	if err != nil {
		tb.Fatal(err)
	}
	desc, err := repo.Resolve(tb.Context(), d.String())
	if err != nil {
		tb.Fatal(err)
	}
	statement, err := attest.NewStatement(provenance, []byte(`{"buildDefinition":{}}`), "app", d)
	if err != nil {
		tb.Fatal(err)
	}
	bundle, err := attest.Sign(tb.Context(), statement, g.ci)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := attest.Attach(tb.Context(), repo, bundle, provenance, desc, time.Now()); err != nil {
		tb.Fatal(err)
	}
	return d
}

// promotion is a request for one.
func promotion(name, reference, from, to string, tags ...string) exchange {
	body, err := json.Marshal(promote.Request{Repository: name, Reference: reference, From: from, To: to, Tags: tags})
	if err != nil {
		body = []byte(err.Error()) // and refused
	}
	return exchange{method: "POST", target: "/api/v1/promotions", headers: []string{"Content-Type", "application/json"}, body: string(body), status: 201}
}

// promotedTags: above dev a promotion does not move a tag either, but for the patterns
// that its tier allows.
func promotedTags(s *suite) {
	g := newGated(s)
	const name = "acme/tagged"
	first := g.attested(s, name, "1.0", "first")
	g.want(s, promotion(name, "1.0", "dev", "stable"))
	g.want(s, promotion(name, "1.0", "stable", "release"))
	second := g.attested(s, name, "1.0", "second")
	refuse := func(what string, e exchange) {
		s.test(what, func(t *testing.T) {
			e.status, e.code = 409, "TAG_IMMUTABLE"
			g.want(t, e)
			for _, tier := range []string{"stable", "release"} {
				got := g.is(t, 200, g.do(t, "HEAD", "/v2/"+tier+"/"+name+"/manifests/1.0", ""))
				if got.header.Get("Docker-Content-Digest") != first.String() {
					t.Errorf("%s: got %v, want %s", tier, got.header, first)
				}
			}
		})
	}
	refuse("a promotion of the tag", promotion(name, "1.0", "dev", "stable"))
	refuse("a promotion of the digest to the tag", promotion(name, second.String(), "dev", "stable", "1.0"))
	refuse("a promotion to a new tag and the tag", promotion(name, second.String(), "dev", "stable", "1.1", "1.0"))
	s.test("none of it made the other tag", func(t *testing.T) {
		g.want(t, exchange{method: "GET", target: "/v2/stable/" + name + "/manifests/1.1", status: 404, code: "MANIFEST_UNKNOWN"})
	})
	s.test("a promotion to a new tag", func(t *testing.T) { g.want(t, promotion(name, second.String(), "dev", "stable", "1.1")) })
	refuse("a promotion of the second to the tag in release", promotion(name, second.String(), "stable", "release", "1.0"))
	for _, layer := range []string{"first", "second", "third"} {
		s.test("latest moves to the "+layer, func(t *testing.T) {
			d := g.attested(t, name, "latest", layer)
			g.want(t, promotion(name, "latest", "dev", "stable"))
			got := g.is(t, 200, g.do(t, "HEAD", "/v2/stable/"+name+"/manifests/latest", ""))
			if got.header.Get("Docker-Content-Digest") != d.String() {
				t.Errorf("got %v, want %s", got.header, d)
			}
			g.want(t, exchange{method: "PUT", target: "/v2/stable/" + name + "/manifests/latest", body: image("first", ""), headers: []string{"Content-Type", typeImage}, status: 403, code: "DENIED"})
		})
	}
}

// immutableTags: a tag that a pattern of dev names stays where it was first set.
func immutableTags(s *suite) {
	c, repo := client{registry: newRegistry(s, nil, tiers.Limits{ImmutableTags: []string{"v*", "release"}})}, "dev/immutable"
	c.blob(s, repo, "other")
	for _, tag := range []string{"v1", "v2.0-rc.1", "v", "release"} {
		s.test("overwriting dev "+tag, func(t *testing.T) {
			d := c.image(t, repo, tag, "layer")
			c.manifest(t, repo, tag, typeImage, image("layer", "")) // the same is no move
			for _, e := range []exchange{
				{method: "PUT", target: "/v2/" + repo + "/manifests/" + tag, body: image("other", ""), headers: []string{"Content-Type", typeImage}},
				{method: "PUT", target: "/v2/" + repo + "/manifests/" + tag, body: indexOf(""), headers: []string{"Content-Type", typeIndex}},
				{method: "DELETE", target: "/v2/" + repo + "/manifests/" + tag},
				{method: "DELETE", target: "/v2/" + repo + "/manifests/" + d.String()}, // which would take the tag along
			} {
				e.status, e.code = 403, "DENIED"
				c.want(t, e)
			}
			got := c.is(t, 200, c.do(t, "HEAD", "/v2/"+repo+"/manifests/"+tag, ""))
			if got.header.Get("Docker-Content-Digest") != d.String() {
				t.Errorf("got %v, want %s", got.header, d)
			}
		})
	}
	for _, tag := range []string{"1.0", "latest", "av1", "release-1", "V1"} {
		s.test("moving dev "+tag, func(t *testing.T) {
			c.image(t, repo, tag, "layer")
			c.image(t, repo, tag, "other")
			c.is(t, 202, c.do(t, "DELETE", "/v2/"+repo+"/manifests/"+tag, ""))
		})
	}
}
