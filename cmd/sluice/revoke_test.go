package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/promote"
)

// A release manager looks what a key would take away, revokes it, sees what changed and why, and
// lifts it.
func TestRevoke(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	attestSample(t, host, data)
	ref := host + "/dev/acme/app:1.0"
	expect(t, exitDone, "", "promote", ref, "--to", "stable")
	expect(t, exitDone, "Nothing is revoked", "revocation", "list", "--registry", host)
	var found struct {
		Evidence []struct{ Signers []struct{ KeyID string } }
	}
	if err := json.Unmarshal([]byte(expect(t, exitDone, "", "evidence", ref, "-o", "json")), &found); err != nil || len(found.Evidence) == 0 {
		t.Fatalf("evidence: %+v, %v", found, err)
	}
	key := found.Evidence[0].Signers[0].KeyID
	why := []string{"--reason", "ticket 4711", "--registry", host}
	for _, args := range [][]string{
		{"key", "abc", "--reason", "x"}, {"key", key}, {"attestation", "1.0", "--reason", "x"}, {"identity", "me", "--reason", "x"},
		{"builder", "x", "--reason", "x", "--from", "yesterday"}, {"builder", "--reason", "x"}, {"other", "x", "--reason", "x"},
	} {
		expect(t, exitUsage, "", append(append([]string{"revoke"}, args...), "--registry", host)...)
	}
	out := expect(t, exitDone, "Nothing was changed", append([]string{"revoke", "key", key, "--dry-run"}, why...)...)
	if !strings.Contains(out, "would be reported") || !strings.Contains(out, "acme/app") {
		t.Errorf("dry run printed\n%s", out)
	}
	out = expect(t, exitDone, "counts no more: ticket 4711", append([]string{"revoke", "key", key, "--wait"}, why...)...)
	for _, want := range []string{"Of 1 artifact above, 1 rested on it", "are reported", "acme/app", "1.0", "revoked by", "What to do", "sluice attest"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	expect(t, exitRefused, "ticket 4711", "promote", ref, "--to", "stable")
	var all []promote.Revocation
	if err := json.Unmarshal([]byte(expect(t, exitDone, "", "revocation", "list", "-o", "json", "--registry", host)), &all); err != nil || len(all) != 1 {
		t.Fatalf("listed %+v, %v", all, err)
	}
	expect(t, exitDone, "in force", "revocation", "list", "--registry", host)
	expect(t, exitDone, "reported", "revocation", "show", all[0].ID, "--registry", host)
	expect(t, exitFailed, "REVOCATION_UNKNOWN", "revocation", "show", "none", "--registry", host)
	out = expect(t, exitDone, "counts again", "revocation", "lift", all[0].ID, "--reason", "a false alarm", "--wait", "--registry", host)
	if !strings.Contains(out, "pass again") || strings.Contains(out, "What to do") {
		t.Errorf("lifted, it printed\n%s", out)
	}
	expect(t, exitDone, "lifted", "revocation", "list", "--registry", host)
	expect(t, exitDone, "", "promote", ref, "--to", "stable")
	eventually(t, "lifted the revocation of key "+key, "ledger", "show", "--registry", host)
	out = expect(t, exitDone, "revoked key "+key, "ledger", "show", "--registry", host)
	if !strings.Contains(out, "would no longer pass") || !strings.Contains(out, "revocation "+all[0].ID) {
		t.Errorf("the ledger says\n%s", out)
	}
	expect(t, exitDone, "Succeeded", "revocation", "run", "--registry", host)
	expect(t, exitDone, "Succeeded", "revocation", "run", "list", "--registry", host)
	out = expect(t, exitDone, "being decided anew", append([]string{"revoke", "builder", "https://example.com/none", "--from", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z"}, why...)...)
	if !strings.Contains(out, "where it was signed at 2026-01-01T00:00:00Z or later and before 2026-02-01T00:00:00Z") || !strings.Contains(out, "sluice revocation show") {
		t.Errorf("printed\n%s", out)
	}
}
