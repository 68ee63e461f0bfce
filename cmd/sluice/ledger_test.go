package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/ledger"
)

// What happened to an artifact is shown and proved by the registry, and by a copy of its
// bucket alone; a copy that somebody got at is not.
func TestLedger(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := filepath.Join(t.TempDir(), "data")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	expect(t, exitRefused, "", "promote", host+"/dev/acme/app:1.0", "--to", "stable")
	attestSample(t, host, data)
	promoteSample(t, host)
	dir := t.TempDir()
	keyFile, kept := ledgerKeyFile(t, host), filepath.Join(dir, "kept")
	id := sealedPromotion(t, host)

	shown := expect(t, exitDone, "", "ledger", "show", "--registry", host, "--promotion", id)
	for _, want := range []string{"had dev/acme/app@sha256:", "as 1.0 rise to stable", "why: test", "policy dev-to-stable sha256:", "provenance: https://slsa.dev/provenance/v1 by ci, sha256:", "summary sha256:"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is not in\n%s", want, shown)
		}
	}
	expect(t, exitDone, "the policy said no", "ledger", "show", "--registry", host, "--repository", "stable/acme/app", "-n", "1000")
	expect(t, exitDone, "put policy", "ledger", "show", "--registry", host, "--from", "0", "-n", "1")
	expect(t, exitDone, "Nothing.", "ledger", "show", "--registry", host, "--repository", "acme/none")
	expect(t, exitDone, "pin it with --key", "ledger", "verify", "--registry", host)
	expect(t, exitDone, "not compared with a checkpoint", "ledger", "verify", "--registry", host, "--key", keyFile, "--save", kept)
	expect(t, exitDone, "it goes on from the checkpoint", "ledger", "verify", "--registry", host, "--key", keyFile, "--checkpoint", kept)
	expect(t, exitFailed, "signature", "ledger", "verify", "--registry", host, "--key", filepath.Join(data, "keys", "ci.pub"))
	expect(t, exitDone, "0 differences", "ledger", "verify", "--registry", host, "--key", keyFile, "--catalog")
	expect(t, exitUsage, "does not go with --dir", "ledger", "verify", "--dir", data+"/objects/sluice-release", "--key", keyFile, "--catalog")
	if code := server.stop(t); code != exitDone {
		t.Fatalf("it ends with %d\n%s", code, &server.stderr)
	}

	bucket := filepath.Join(dir, "bucket")
	if err := os.CopyFS(bucket, os.DirFS(filepath.Join(data, "objects", "sluice-release"))); err != nil {
		t.Fatal(err)
	}
	var found proof
	out := expect(t, exitDone, "", "ledger", "verify", "--dir", bucket, "--key", keyFile, "--checkpoint", kept, "-o", "json")
	if err := json.Unmarshal([]byte(out), &found); err != nil {
		t.Fatal(err)
	}
	if !found.Sound || !found.Pinned || found.Promotions != 3 || found.Evidence == 0 || found.Entries != found.Size || found.Kept == nil || !found.Kept.Consistent {
		t.Errorf("found %s", out)
	}
	expect(t, exitDone, "rise to stable", "ledger", "show", "--dir", bucket, "--key", keyFile, "--promotion", id)
	tamperEvidence(t, bucket, keyFile)
	tamper(t, bucket, keyFile)
}

// tamperEvidence changes the bytes of all evidence of a copy, and puts them back.
func tamperEvidence(t *testing.T, bucket, keyFile string) {
	t.Helper()
	objects, err := filepath.Glob(filepath.Join(bucket, "blobs", "sha256", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	was := map[string]string{}
	for _, object := range objects {
		if content := readFile(t, object); strings.Contains(content, "dsseEnvelope") {
			was[object] = content
		}
	}
	put := func(object, content string) {
		if err := os.WriteFile(object, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for object, content := range was {
		put(object, content+" ")
	}
	expect(t, exitFailed, "evidence", "ledger", "verify", "--dir", bucket, "--key", keyFile)
	expect(t, exitFailed, "are not what its digest says", "ledger", "verify", "--dir", bucket, "--key", keyFile)
	for object, content := range was {
		put(object, content)
	}
	expect(t, exitDone, "", "ledger", "verify", "--dir", bucket, "--key", keyFile)
}

// ledgerKeyFile writes the key of the ledger to a file.
func ledgerKeyFile(t *testing.T, host string) string {
	t.Helper()
	keys, err := docker(t, host).publicKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if k.Use == "ledger" {
			return write(t, t.TempDir(), "ledger.pub", k.PublicKey)
		}
	}
	t.Fatal("the ledger has no key")
	return ""
}

// sealedPromotion waits until a promotion to stable is sealed, and returns its id.
func sealedPromotion(t *testing.T, host string) string {
	t.Helper()
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(100 * time.Millisecond) {
		all, err := list[promote.Promotion](t.Context(), docker(t, host), "/api/v1/promotions", "promotions", nil)
		if err != nil {
			t.Fatal(err)
		}
		// The newest is the one to release: where it is sealed all before it is.
		if len(all) > 0 && all[0].LedgerIndex != nil {
			for _, p := range all {
				if p.To == "stable" && p.State == promote.Succeeded {
					return p.ID
				}
			}
		}
	}
	t.Fatal("nothing was sealed")
	return ""
}

// tamper changes an entry of a copy.
func tamper(t *testing.T, bucket, keyFile string) {
	t.Helper()
	bundles, err := filepath.Glob(filepath.Join(bucket, "ledger", "tile", "entries", "000.p", "*"))
	if err != nil || len(bundles) == 0 {
		t.Fatalf("no entries: %v, %v", bundles, err)
	}
	for _, bundle := range bundles {
		if err := os.WriteFile(bundle, []byte(strings.Replace(readFile(t, bundle), `"actor":"anonymous"`, `"actor":"anonymuos"`, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	expect(t, exitFailed, "was changed", "ledger", "verify", "--dir", bucket, "--key", keyFile)
	expect(t, exitFailed, "is not what was sealed", "ledger", "show", "--dir", bucket, "--key", keyFile, "--from", "0")
}

// Who may not read entries verifies their hashes.
func TestLedgerHashesOnly(t *testing.T) {
	data := t.TempDir()
	write(t, data, "users", "ci:$2a$04$OjJdpU24XNMxPeoiOqKUq.wEipZMDogmI1UY8NkRR0Kn4FboSqaui\n") // secret
	write(t, data, configName, "url: http://127.0.0.1\nauth:\n  htpasswd: users\n  grants:\n    - {users: [ci], tiers: [dev], actions: [pull, push]}\n")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	login := t.TempDir()
	write(t, login, "config.json", `{"auths":{"`+host+`":{"auth":"Y2k6c2VjcmV0"}}}`)
	t.Setenv("DOCKER_CONFIG", login)
	pushSample(t, host)
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		resp, err := http.Get("http://" + host + "/ledger/checkpoint")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err == nil && resp.StatusCode == http.StatusOK && !strings.Contains(string(body), "\n0\n") {
			break
		}
		if time.Since(begin) > time.Minute {
			t.Fatal("nothing was sealed")
		}
	}
	expect(t, exitDone, "the entries themselves were not looked at", "ledger", "verify", "--registry", host)
	expect(t, exitFailed, "ci may not admin", "ledger", "show", "--registry", host)
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	expect(t, exitDone, "the entries themselves were not looked at", "ledger", "verify", "--registry", host)
	expect(t, exitFailed, "docker login", "ledger", "show", "--registry", host)
	if code := server.stop(t); code != exitDone {
		t.Errorf("it ends with %d\n%s", code, &server.stderr)
	}
}

// Each type of event is told in words.
func TestTell(t *testing.T) {
	const d, before = digest.Digest("sha256:aaaaaaaaaaaa0000"), digest.Digest("sha256:bbbbbbbbbbbb0000")
	verdict := &policy.Verdict{Rules: []policy.Rule{
		{Name: "built", Mode: policy.Enforce, Allowed: true, Evidence: []policy.Used{{Digest: before, PredicateType: "https://slsa.dev/provenance/v1", Authority: "ci"}}},
		{Name: "tested", Mode: policy.Enforce, Message: "no test results"},
		{Name: "aged", Mode: policy.Warn, Message: "too old"},
		{Name: "off", Mode: policy.Off},
	}}
	body := tiers.Encode(promote.Promotion{ID: "01", Reason: "ticket 1", Verdict: verdict, Error: "no time", Summary: d})
	base := tiers.Event{Actor: "ci", Tier: "stable", Repository: "acme/app", From: "dev", Digest: d}
	with := func(eventType tiers.EventType, edit func(*tiers.Event)) tiers.Event {
		e := base
		e.Type = eventType
		if edit != nil {
			edit(&e)
		}
		return e
	}
	for want, e := range map[string]tiers.Event{
		"pushed blob sha256:aaaaaaaaaaaa of 2.0 KiB to stable/acme/app":               with(tiers.EventBlobPushed, func(e *tiers.Event) { e.Size = 2048 }),
		"mounted blob sha256:aaaaaaaaaaaa from dev to stable/acme/app":                with(tiers.EventBlobMounted, nil),
		"deleted blob sha256:aaaaaaaaaaaa from stable/acme/app|why: collection: old":  with(tiers.EventBlobDeleted, func(e *tiers.Event) { e.Cause = "collection: old" }),
		"pushed stable/acme/app@sha256:aaaaaaaaaaaa as 1.0|x/y about sha256:bb":       with(tiers.EventManifestPushed, func(e *tiers.Event) { e.Tag, e.ArtifactType, e.Subject = "1.0", "x/y", "sha256:bb" }),
		"deleted stable/acme/app@sha256:aaaaaaaaaaaa as 1, 2|why: old":                with(tiers.EventManifestDeleted, func(e *tiers.Event) { e.Tags, e.Cause = []string{"1", "2"}, "old" }),
		"set tag stable/acme/app:1 to sha256:aaaaaaaaaaaa|it was sha256:bbbbbbbbbbbb": with(tiers.EventTagged, func(e *tiers.Event) { e.Tag, e.Previous = "1", before }),
		"deleted tag stable/acme/app:1|it was sha256:bbbbbbbbbbbb":                    with(tiers.EventUntagged, func(e *tiers.Event) { e.Tag, e.Previous = "1", before }),
		"had dev/acme/app@sha256:aaaaaaaaaaaa as 1 rise to stable|promotion 01|why: ticket 1|no time|policy p sha256:bbbbbbbbbbbb|" +
			"✓ built: https://slsa.dev/provenance/v1 by ci, sha256:bbbbbbbbbbbb|✗ tested: no test results|! aged: too old|summary sha256:aaaaaaaaaaaa": with(tiers.EventPromoted, func(e *tiers.Event) {
			e.Tags, e.Cause, e.Body, e.Policy = []string{"1"}, "01", body, "p@"+before.String()
		}),
		"asked that dev/acme/app@sha256:aaaaaaaaaaaa rise to stable: the policy said no|promotion 01":              with(tiers.EventRefused, func(e *tiers.Event) { e.Cause, e.Body = "01", []byte("{}") }),
		"asked that dev/acme/app@sha256:aaaaaaaaaaaa rise to stable: it could not be decided or done|promotion 01": with(tiers.EventErrored, func(e *tiers.Event) { e.Cause, e.Body = "01", []byte("{}") }),
		"asked that dev/acme/app@sha256:aaaaaaaaaaaa rise to stable: it waits for approvals|promotion 01|policy –": with(tiers.EventWaiting, func(e *tiers.Event) { e.Cause = "01" }),
		"found that dev/acme/app@sha256:aaaaaaaaaaaa, which stands in stable, would no longer pass|promotion 01|policy –|what changed: a, b": with(tiers.EventStanding, func(e *tiers.Event) {
			e.Cause, e.Body = "01", tiers.Encode(promote.Standing{Changed: []string{"a", "b"}})
		}),
		"put policy p in force for stable: sha256:aaaaaaaaaaaa|it was sha256:bbbbbbbbbbbb": with(tiers.EventPolicySet, func(e *tiers.Event) { e.Policy, e.Previous = "p", before }),
		"signs the ledger with another key from here on|k":                                 with(ledger.EventKeyChanged, func(e *tiers.Event) { e.Cause = "k" }),
		"mended link-missing of stable/acme/app|may not read": with(tiers.EventRepaired, func(e *tiers.Event) {
			e.Cause, e.Body = tiers.KindLinkMissing, tiers.Encode(tiers.Finding{Message: "may not read", Key: "k"})
		}),
		"mended pin-orphan at k|nobody works on it":                   {Type: tiers.EventRepaired, Cause: tiers.KindPinOrphan, Body: tiers.Encode(tiers.Finding{Message: "nobody works on it", Key: "k"})},
		"mended pin-orphan|what it was cannot be read":                {Type: tiers.EventRepaired, Cause: tiers.KindPinOrphan, Body: []byte("{")},
		"something.new: stable/acme/app@sha256:aaaaaaaaaaaa|why: bad": with("something.new", func(e *tiers.Event) { e.Cause = "bad" }),
		"had decided anew what rested on builder b|2 artifacts of 3 rested on it: 1 changed, 1 put in quarantine, 0 passed again": {Type: tiers.EventRedecided,
			Body: tiers.Encode(promote.Revocation{Kind: promote.RevokedBuilder, Value: "b", Redecision: promote.Redecision{Decided: 3, Rested: 2, Changed: 1, Quarantined: 1}})},
		"had dev/acme/app@sha256:aaaaaaaaaaaa as 1 rise to stable|promotion 01|a rollback|it was sha256:bbbbbbbbbbbb": with(tiers.EventPromoted, func(e *tiers.Event) {
			e.Tags, e.Cause, e.Body = []string{"1"}, "01", tiers.Encode(promote.Promotion{Rollback: true, Replaces: before})
		}),
		"put sha256:aaaaaaaaaaaa in quarantine|why: bad|until 2026-01-02 03:04:05": {Type: tiers.EventQuarantined, Digest: d, Cause: "bad",
			Body: tiers.Encode(tiers.Quarantine{ExpiresAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)})},
		"revoked identity me of https://example.com|why: bad|where it was signed at 2026-01-02T03:04:05Z or later": {Type: tiers.EventRevoked, Cause: "bad",
			Body: tiers.Encode(promote.Revocation{Kind: promote.RevokedIdentity, Value: "me", Issuer: "https://example.com", From: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})},
		"lifted the revocation of key k|why: good":               {Type: tiers.EventRevocationLifted, Cause: "good", Body: tiers.Encode(promote.Revocation{Kind: promote.RevokedKey, Value: "k"})},
		"revoked evidence":                                       {Type: tiers.EventRevoked, Body: []byte("{")},
		"lifted the quarantine of sha256:aaaaaaaaaaaa|why: good": {Type: tiers.EventQuarantineLifted, Digest: d, Cause: "good"},
	} {
		got := tell(e)
		if text := strings.Join(append([]string{got.what}, got.details...), "|"); text != want {
			t.Errorf("%s is told as\n%q, want\n%q", e.Type, text, want)
		}
	}
}

// What the registry says cannot steer the terminal, and an entry that cannot be read is told
// as that.
func TestTellHostile(t *testing.T) {
	var b strings.Builder
	p := newPrinter(&b)
	p.entries([]shownEntry{{Index: 7, event: tiers.Event{Type: tiers.EventPromoted, Actor: "a\x1b[2J", Repository: "x\x1b]0;", Cause: "c\x07", Body: []byte("{")}}})
	if out := b.String(); strings.ContainsAny(out, "\x1b\x07") || !strings.Contains(out, "cannot be read") {
		t.Errorf("printed %q", out)
	}
}
