package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tests/apispec"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/pulls"
	"sluice.dev/sluice/tiers/runs"
)

const testProvenance = "https://slsa.dev/provenance/v1"

// apiFixture is a server with an engine, and a client that holds every answer against the
// document.
type apiFixture struct {
	*fixture
	engine *promote.Engine
	work   runs.Work // of all runs; set before they begin
	client *http.Client
	spec   *apispec.Validator // of the client
	ci     crypto.Signer
	ciPEM  string
}

func newAPI(t *testing.T, change func(*Config), limits ...tiers.Limits) *apiFixture {
	t.Helper()
	a := &apiFixture{}
	signers := map[string]crypto.Signer{}
	for _, tier := range []string{"stable", "release"} {
		signers[tier], _ = newSigner(t)
	}
	a.ci, a.ciPEM = newSigner(t)
	a.fixture = newFixture(t, func(c *Config) {
		engine, err := promote.New(promote.Config{Registry: c.Registry, Signers: signers, URL: "https://registry.example.com",
			Log: slog.New(slog.DiscardHandler), Alone: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(engine.Close)
		a.engine, c.Engine = engine, engine
		a.work = func(context.Context, runs.Run, func(any)) (any, error) {
			return figuresOf(map[string]int64{FigureFreed: 7, FigureFindings: 0}), nil
		}
		job := runs.Job{Work: func(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
			return a.work(ctx, run, progress)
		}}
		redecision := runs.Job{Work: func(ctx context.Context, _ runs.Run, progress func(any)) (any, error) {
			return engine.Redecide(ctx, func(r promote.Redeciding) { progress(r) })
		}}
		runner, err := runs.New(runs.Config{Registry: c.Registry, Log: slog.New(slog.DiscardHandler), Jobs: map[runs.Kind]runs.Job{runs.Collection: job, runs.Check: job, runs.Redecision: redecision}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(runner.Close)
		c.Runs = runner
		c.Pulls, err = pulls.New(pulls.Config{Registry: c.Registry, Share: 1, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(c)
		}
	}, limits...)
	for name, between := range map[string][2]string{"dev-to-stable": {"dev", "stable"}, "stable-to-release": {"stable", "release"}} {
		if _, err := a.engine.SetPolicy(t.Context(), "setup", name, []byte(a.policy(name, between[0], between[1])), ""); err != nil {
			t.Fatal(err)
		}
	}
	a.spec = apispec.New(t)
	a.client = &http.Client{Transport: a.spec.Wrap(t, nil)}
	return a
}

// newSigner makes a key without writing it to a file: encrypting one takes its time.
func newSigner(t *testing.T) (crypto.Signer, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := attest.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key, string(public)
}

// policy asks for provenance by ci.
func (a *apiFixture) policy(name, from, to string) string {
	pem, err := json.Marshal(a.ciPEM)
	if err != nil {
		a.Fatal(err)
	}
	return fmt.Sprintf(`apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: %s}
spec:
  from: %s
  to: %s
  authorities: [{name: ci, key: {pem: %s}}]
  require:
    - {name: built-by-ci, predicateTypes: ["%s"], from: {authorities: [ci]}}
`, name, from, to, pem, testProvenance)
}

// call sends a request; an answer that is not as described fails the test.
func (a *apiFixture) call(method, path, body string, headers ...string) reply {
	a.Helper()
	r, err := http.NewRequestWithContext(a.Context(), method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	if name, password, ok := strings.Cut(a.user, ":"); ok {
		r.SetBasicAuth(name, password)
	}
	response, err := a.client.Do(r)
	if err != nil {
		a.Fatalf("%s %s: %v", method, path, err)
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, data, err}
}

func (a *apiFixture) post(path, body string, headers ...string) reply {
	a.Helper()
	return a.call("POST", path, body, append([]string{"Content-Type", "application/json"}, headers...)...)
}

// get wants 200 and decodes the answer into a T.
func get[T any](a *apiFixture, path string) T {
	a.Helper()
	return decodeAnswer[T](a, a.want(a.call("GET", path, ""), 200, ""))
}

func decodeAnswer[T any](a *apiFixture, got reply) T {
	a.Helper()
	var v T
	if err := json.Unmarshal(got.body, &v); err != nil {
		a.Fatalf("%v: %s", err, got.body)
	}
	return v
}

// violationOf is the promotion in the detail of a 422.
func violationOf(a *apiFixture, got reply) promote.Promotion {
	a.Helper()
	a.want(got, 422, "POLICY_VIOLATION")
	e := decodeAnswer[struct {
		Errors []struct{ Detail promote.Promotion }
	}](a, got)
	return e.Errors[0].Detail
}

func ask(repository, reference, from, to string) string {
	body, err := json.Marshal(promote.Request{Repository: repository, Reference: reference, From: from, To: to})
	if err != nil {
		return err.Error() // and refused
	}
	return string(body)
}

// provenance attaches what the policies ask for to a manifest in dev.
func (a *apiFixture) provenance(name string, subject digest.Digest) {
	a.Helper()
	repo, err := a.server.registry.Repository("dev", name, "ci")
	if err != nil {
		a.Fatal(err)
	}
	desc, err := repo.Resolve(a.Context(), subject.String())
	if err != nil {
		a.Fatal(err)
	}
	statement, err := attest.NewStatement(testProvenance, []byte(`{"buildDefinition":{}}`), "app", subject)
	if err != nil {
		a.Fatal(err)
	}
	bundle, err := attest.Sign(a.Context(), statement, a.ci)
	if err != nil {
		a.Fatal(err)
	}
	if _, err := attest.Attach(a.Context(), repo, bundle, testProvenance, desc, time.Now()); err != nil {
		a.Fatal(err)
	}
}
