package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// An image is put in quarantine, attested all the same, asked for in vain, and let go again.
func TestQuarantine(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	expect(t, exitDone, "Nothing is in quarantine", "quarantine", "list", "--registry", host)
	ref, err := oci.ParseReference(host + "/dev/acme/app:1.0")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := docker(t, host).resolve(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	d := desc.Digest.String()
	for _, args := range [][]string{{"add", d}, {"add", "latest", "--reason", "x"}, {"add", d, "--reason", "x", "--for", "soon"}, {"add", "--reason", "x"}, {"lift", "1.0"}, {"list", d}} {
		expect(t, exitUsage, "", append(append([]string{"quarantine"}, args...), "--registry", host)...)
	}
	out := expect(t, exitDone, "Nobody can pull any more", "quarantine", "add", d, "--reason", "ticket 4711", "--for", "48h", "--registry", host)
	if !strings.Contains(out, "ticket 4711") || !strings.Contains(out, "acme/app") || !strings.Contains(out, "1.0") || !strings.Contains(out, "until ") {
		t.Errorf("printed\n%s", out)
	}
	expect(t, exitFailed, "lift that first", "quarantine", "add", d, "--reason", "other", "--registry", host)
	expect(t, exitFailed, "403", "verify", host+"/dev/acme/app:1.0", "--key", filepath.Join(data, "keys", "ci.pub"))
	attestSample(t, host, data) // attest, evidence and policy test
	expect(t, exitRefused, "ticket 4711", "promote", host+"/dev/acme/app:1.0", "--to", "stable")
	expect(t, exitRefused, "sluice quarantine lift "+d, "promote", host+"/dev/acme/app:1.0", "--to", "stable", "--dry-run")
	expect(t, exitDone, "in quarantine: ticket 4711", "status", host+"/acme/app")
	var all []tiers.Quarantine
	if err := json.Unmarshal([]byte(expect(t, exitDone, "", "quarantine", "list", "-o", "json", "--registry", host)), &all); err != nil || len(all) != 1 || all[0].Digest != desc.Digest {
		t.Errorf("listed %+v, %v", all, err)
	}
	expect(t, exitDone, "ticket 4711", "quarantine", "list", "--registry", host)
	expect(t, exitDone, "is in quarantine no more", "quarantine", "lift", d, "--reason", "a false alarm", "--registry", host)
	expect(t, exitFailed, "QUARANTINE_UNKNOWN", "quarantine", "lift", d, "--registry", host)
	expect(t, exitDone, "", "promote", host+"/dev/acme/app:1.0", "--to", "stable")
	expect(t, exitDone, "No manifest of any tier", "quarantine", "add", "sha256:"+strings.Repeat("0", 64), "--reason", "x", "--registry", host)
	eventually(t, "lifted the quarantine of "+short(desc.Digest), "ledger", "show", "--registry", host)
	expect(t, exitDone, "put "+short(desc.Digest)+" in quarantine", "ledger", "show", "--registry", host)
}
