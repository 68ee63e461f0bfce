package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

// keyPair writes a key pair, unencrypted, and returns the private key's file.
func keyPair(t *testing.T, dir, name string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := attest.MarshalPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, name+".pub", string(public))
	return write(t, dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

const approvalPolicy = `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-stable}
spec:
  from: dev
  to: stable
  authorities:
    - {name: ci, key: {file: ci.pub}}
    - {name: alice, key: {file: alice.pub}}
    - {name: bob, key: {file: bob.pub}}
  require:
    - {name: provenance, predicateTypes: ["https://slsa.dev/provenance/v1"], from: {authorities: [ci]}}
    - {name: approved, approval: {}, from: {authorities: [alice, bob], threshold: 2}}
`

// The approvers' job with the command alone: it waits, is left waiting, goes through.
func TestApprove(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	dir := t.TempDir()
	ci, alice, bob := keyPair(t, dir, "ci"), keyPair(t, dir, "alice"), keyPair(t, dir, "bob")
	server := spawn(t, nil, "serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	ref := host + "/dev/acme/app:1.0"
	expect(t, exitDone, "", "policy", "apply", write(t, dir, "stable.yaml", approvalPolicy), "--registry", host)

	expect(t, exitRefused, "provenance", "promote", ref, "--to", "stable", "--wait") // what approvals do not mend is refused at once
	expect(t, exitDone, "now says", "attest", ref, "--type", "slsaprovenance1", "--predicate", write(t, dir, "p.json", `{"buildDefinition":{}}`), "--key", ci)
	expect(t, exitRefused, "sluice approve "+host+"/dev/acme/app:1.0@sha256:", "promote", ref, "--to", "stable")

	waits := patient(t, "promote", ref, "--to", "stable", "--wait")
	id := pending(t, host)
	waits.interrupt()
	if code := <-waits.code; code != exitFailed || !strings.Contains(waits.String(), "promotion "+id+" waits on in the registry") || !strings.Contains(waits.String(), "curl -X DELETE http://"+host+"/api/v1/promotions/"+id) {
		t.Errorf("Ctrl-C ends it with %d: %s", code, waits)
	}
	if again := pending(t, host); again != id {
		t.Errorf("%s waits, want %s", again, id)
	}
	expect(t, exitRefused, "it waits for approvals until", "promote", ref, "--to", "stable") // asked without patience

	expect(t, exitFailed, "asks alice, bob", "approve", ref, "--to", "stable", "--key", ci)
	expect(t, exitFailed, "no policy says what rises from dev to release", "approve", ref, "--to", "release", "--key", alice)
	expect(t, exitFailed, "no such artifact", "approve", host+"/dev/acme/app:2.0", "--to", "stable", "--key", alice)
	stdout := expect(t, exitDone, "", "approve", ref, "--to", "stable", "--key", alice, "--reason", "ticket 4711", "-o", "json")
	var done approved
	if err := json.Unmarshal([]byte(stdout), &done); err != nil || done.Decision != "approved" || done.Signers[0].Authority != "alice" || done.Policy == "" || done.Reason != "ticket 4711" {
		t.Errorf("printed %s, %v", stdout, err)
	}
	waits = patient(t, "promote", ref, "--to", "stable", "--wait")
	expect(t, exitDone, "bob says that", "approve", ref, "--to", "stable", "--key", bob)
	if code := <-waits.code; code != exitDone || !strings.Contains(waits.String(), "Promotion "+id+" waits") || !strings.Contains(waits.String(), "rose to stable") {
		t.Errorf("it ends with %d: %s", code, waits)
	}
	expect(t, exitDone, "approved", "promote", ref, "--to", "stable")

	// What is rejected while somebody waits for it has failed.
	expect(t, exitDone, "", "policy", "apply", write(t, dir, "stable.yaml", strings.Replace(approvalPolicy, "threshold: 2", "threshold: 1", 1)), "--registry", host)
	waits = patient(t, "promote", ref, "--to", "stable", "--wait-for", "1h")
	expect(t, exitDone, "may not rise to stable", "approve", ref, "--to", "stable", "--key", bob, "--reject", "--reason", "not on a Friday")
	code, output := <-waits.code, waits.String()
	for _, want := range []string{"waits no longer", `rejected: "not on a Friday"`, "It stands in stable, and would no longer pass; what changed: approved"} {
		if code != exitRefused || !strings.Contains(output, want) {
			t.Errorf("it ends with %d without %q: %s", code, want, output)
		}
	}
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends the server with %d\n%s", code, &server.stderr)
	}
}

// patience is the command while it waits, in this process.
type patience struct {
	mu        sync.Mutex
	output    strings.Builder
	code      chan int
	interrupt context.CancelFunc // as Ctrl-C does
}

// Write takes both outputs of the command.
func (p *patience) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *patience) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// patient runs the command until it says that it waits.
func patient(t *testing.T, args ...string) *patience {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	p := &patience{code: make(chan int, 1), interrupt: cancel}
	go func() { p.code <- run(ctx, args, strings.NewReader(""), p, p) }()
	for range 1000 {
		if strings.Contains(p.String(), "waits for approvals until") {
			return p
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("it does not wait: %s", p)
	return nil
}

// pending waits until one promotion waits, and returns its id.
func pending(t *testing.T, host string) string {
	t.Helper()
	c := docker(t, host)
	for range 1000 {
		waiting, err := list[promote.Promotion](t.Context(), c, "/api/v1/promotions", "promotions", url.Values{"state": {"Pending"}})
		if err != nil {
			t.Fatal(err)
		}
		if len(waiting) == 1 && waits(waiting[0]) {
			return waiting[0].ID
		}
	}
	t.Fatal("no promotion waits")
	return ""
}
