package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/promote/policy"
)

// faulty is a gate that gives the answers of a real one that is hard to bring about.
type faulty struct {
	gate
	promotion promote.Promotion
	err       error
}

func (f *faulty) Promote(context.Context, string, promote.Request) (promote.Promotion, bool, error) {
	return f.promotion, true, f.err
}

func (f *faulty) Start(context.Context, string, promote.Request) (promote.Promotion, bool, error) {
	return f.promotion, true, f.err
}

func (f *faulty) Evaluate(context.Context, string, promote.Request) (policy.Verdict, error) {
	return policy.Verdict{}, f.err
}

func (f *faulty) Promotion(context.Context, string) (promote.Promotion, error) {
	return f.promotion, f.err
}

func (f *faulty) Promotions(context.Context, promote.Filter, string, int) ([]promote.Promotion, string, error) {
	return nil, "", f.err
}

func (f *faulty) Artifacts(context.Context, string, string, string, int) ([]promote.Artifact, string, error) {
	return nil, "", f.err
}

func (f *faulty) Evidence(context.Context, string, string, digest.Digest) ([]attest.Evidence, error) {
	return nil, f.err
}

func (f *faulty) Policies(context.Context) ([]promote.PolicyInfo, error) { return nil, f.err }

func (f *faulty) Policy(context.Context, string) (promote.PolicyInfo, error) {
	return promote.PolicyInfo{}, f.err
}

// TestFaults sends what can go wrong behind the API over the wire.
func TestFaults(t *testing.T) {
	a := newAPI(t, nil)
	stub := &faulty{gate: a.server.gate}
	a.server.gate = stub
	d := digest.FromString("x")
	finished := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	errored := promote.Promotion{ID: "01ERRORED", State: promote.Errored, Repository: "acme/app", Reference: "1.0", Digest: d, From: "dev", To: "stable",
		RequestedBy: "ci", CreatedAt: finished, FinishedAt: &finished, Error: "the store was away"}
	running := errored
	running.State, running.FinishedAt, running.Error = promote.Running, nil, ""
	failed := errored
	failed.State, failed.Error = promote.Failed, ""
	failed.Verdict = &policy.Verdict{Policy: policy.Identity{Name: "p", Digest: d}, EvaluatedAt: finished, Rules: []policy.Rule{
		{Name: "scanned", Mode: policy.Enforce, Message: "no scan", Remedy: "scan"}, {Name: "nice", Mode: policy.Warn, Message: "not so"}}}

	for _, tt := range []struct {
		name      string
		promotion promote.Promotion
		err       error
		status    int
		code      string
		says      string
	}{
		{"undecidable", errored, fmt.Errorf("%w: promotion x", oci.ErrUndecidable), 503, "UNDECIDABLE", "01ERRORED"},
		{"errored before", errored, nil, 503, "UNDECIDABLE", "the store was away"},
		{"a store is away", promote.Promotion{}, fmt.Errorf("etcd at 10.0.0.1: %w", oci.ErrUnavailable), 503, "UNAVAILABLE", ""},
		{"a conflict", errored, fmt.Errorf("commit: %w", oci.ErrConflict), 409, "CONFLICT", "01ERRORED"},
		{"a tag that moved", errored, fmt.Errorf("commit: %w", oci.ErrTagImmutable), 409, "TAG_IMMUTABLE", ""},
		{"too many", promote.Promotion{}, oci.ErrTooManyRequests, 429, "TOOMANYREQUESTS", ""},
		{"who knows", promote.Promotion{}, errors.New("10.0.0.1 is on fire"), 500, "UNKNOWN", ""},
		{"another replica is at it", running, nil, 202, "", "Running"},
		{"refused", failed, nil, 422, "POLICY_VIOLATION", "policy p does not let acme/app:1.0 rise from dev to stable: scanned: no scan\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stub.promotion, stub.err = tt.promotion, tt.err
			for _, prefer := range []string{"", "respond-async"} {
				got := a.post("/api/v1/promotions", ask("acme/app", "1.0", "dev", "stable"), "Prefer", prefer)
				// Where nobody asked not to wait, 202 has no preference to confirm.
				if got.status != tt.status || got.code() != tt.code || !strings.Contains(string(got.body), tt.says) || strings.Contains(string(got.body), "10.0.0.1") {
					t.Errorf("prefer %q: got %d %s %s", prefer, got.status, got.code(), got.body)
				}
				if location := got.header.Get("Location"); (location == "/api/v1/promotions/01ERRORED") != (tt.promotion.ID != "") {
					t.Errorf("Location is %q", location)
				}
			}
		})
	}
	for fault, want := range map[error]string{
		fmt.Errorf("etcd at 10.0.0.1: %w", oci.ErrUnavailable): "503 UNAVAILABLE",
		errors.New("10.0.0.1 is on fire"):                      "500 UNKNOWN",
	} {
		stub.err = fault
		for _, path := range []string{"promotions", "promotions/1", "tiers", "tiers/dev/artifacts?repository=acme/app",
			"tiers/dev/evidence?repository=acme/app&digest=" + d.String(), "policies", "policies/dev-to-stable"} {
			got := a.call("GET", "/api/v1/"+path, "")
			if s := fmt.Sprint(got.status, " ", got.code()); s != want || strings.Contains(string(got.body), "10.0.0.1") {
				t.Errorf("%s: got %s, want %s: %s", path, s, want, got.body)
			}
		}
		if got := a.post("/api/v1/evaluations", ask("acme/app", "1.0", "dev", "stable")); fmt.Sprint(got.status, " ", got.code()) != want {
			t.Errorf("evaluation: got %d %s, want %s", got.status, got.code(), want)
		}
		if got := a.call("PUT", aPolicy, a.policy("dev-to-stable", "dev", "stable")); fmt.Sprint(got.status, " ", got.code()) != want {
			t.Errorf("PUT: got %d %s, want %s", got.status, got.code(), want)
		}
	}
}
