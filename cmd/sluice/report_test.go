package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

// What a collection did, or would do.
func TestGCReport(t *testing.T) {
	w := newScripted(t)
	_, host := w.serve()
	w.open()
	w.result(collection{Collected: tiers.Collected{
		Sweeps: map[tiers.Sweep]tiers.Swept{
			tiers.SweepBlobs: {Looked: 1000, Gone: 5, Bytes: 3 << 20}, tiers.SweepStrays: {Looked: 70, Gone: 1, Bytes: 1 << 20}, tiers.SweepObjects: {Looked: 9, Gone: 9, Bytes: 5 << 30},
		},
		Problems:     []tiers.CollectProblem{{Sweep: tiers.SweepStrays, Message: "the bucket is another registry's too\x1b[2J"}},
		ProblemCount: 3,
	}})
	out := expect(t, exitDone, "9 objects deleted, 5.0 GiB freed", "gc", "--registry", host)
	for _, want := range []string{"6 objects of 4.0 MiB condemned", "blobs    1000       5     3.0 MiB", "! strays: the bucket is another registry's too�[2J", "… and 2 problems more"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	expect(t, exitDone, "Succeeded  9 deleted, 5.0 GiB freed, 6", "gc", "list", "--registry", host)

	w.result(collection{Collected: tiers.Collected{DryRun: true,
		Sweeps: map[tiers.Sweep]tiers.Swept{tiers.SweepBlobs: {Looked: 1000, Gone: 12, Bytes: 3 << 20}},
		Items: []tiers.CollectItem{{Sweep: tiers.SweepBlobs, Store: "s", Digest: "sha256:0123456789abcdef", Size: 2 << 20, Why: "no manifest needs it since yesterday"},
			{Sweep: tiers.SweepLinks, Tier: "dev", Repository: "acme/app", Digest: "sha256:fedcba9876543210", Why: "no manifest of the repository needs it"}},
	}})
	out = expect(t, exitDone, "nothing was changed", "gc", "--dry-run", "--registry", host)
	for _, want := range []string{"sha256:0123456789ab", "2.0 MiB", "no manifest needs it since yesterday", "dev/acme/app@sha256:fedcba987654", "… and 10 more."} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	expect(t, exitDone, "Succeeded  dry run: 12 would go", "gc", "list", "--registry", host)
	if strings.Contains(out, "freed") {
		t.Errorf("a dry run freed something:\n%s", out)
	}
	retained := tiers.Retained{Repositories: 1, Tags: 2, Manifests: 3, Referrers: 1, Kept: map[string]int{tiers.KeptAbove: 1}, Problems: []string{"dev/acme/bad: corrupt"}, Items: []tiers.RetainItem{
		{Tier: "dev", Repository: "acme/app", Tag: "0.1", Rule: "retention[0]", Digest: digest.FromString("0.1"), Why: "older than 30 days"},
		{Tier: "dev", Repository: "acme/app", Tag: "1.0", Digest: digest.FromString("1.0"), Why: "it stands in stable", Stays: true}}}
	w.result(collection{Retained: retained, Collected: tiers.Collected{DryRun: true}})
	out = expect(t, exitDone, "By rules of retention would go: 2 tags and 3 manifests, 1 referrer among them.", "gc", "--dry-run", "--registry", host)
	for _, want := range []string{"dev/acme/app:0.1       goes   older than 30 days", "dev/acme/app:1.0       stays  it stands in stable", "… and 4 more.", "1 stay: in a tier above", "retention: dev/acme/bad: corrupt", "nothing was changed"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	w.result(collection{Retained: retained})
	if out := expect(t, exitDone, "By rules of retention went: 2 tags", "gc", "--registry", host); strings.Contains(out, "acme/app:1.0") {
		t.Errorf("it lists what went:\n%s", out)
	}
	expect(t, exitDone, "by rule: 2 tags, 3", "gc", "list", "--registry", host)
	w.result(collection{Retained: retained, Collected: tiers.Collected{DryRun: true, Phase: tiers.SweepBlobs, ProblemCount: 1,
		Sweeps: map[tiers.Sweep]tiers.Swept{tiers.SweepBlobs: {Looked: 1, Gone: 1, Bytes: 1}}, Problems: []tiers.CollectProblem{{Sweep: tiers.SweepBlobs, Store: "s", Key: "k", Message: "m"}},
		Items: []tiers.CollectItem{{Sweep: tiers.SweepBlobs, Store: "s", Tier: "dev", Repository: "acme/app", Key: "k", Digest: digest.FromString("x"), Size: 1, Why: "w"}}}})
	expect(t, exitDone, "", "gc", "--registry", host)
	described(t, host, "/api/v1/collections/"+newest(t, host, "collections"))
	w.result(collection{Collected: tiers.Collected{DryRun: true, Items: []tiers.CollectItem{{}, {}}}})
	out = expect(t, exitDone, `"dryRun": true`, "gc", "--dry-run", "--registry", host, "-o", "json")
	var run runs.Run
	if err := json.Unmarshal([]byte(out), &run); err != nil || len(collectionOf(run.Result).Collected.Items) != 2 {
		t.Errorf("%v\n%s", err, out)
	}
}

// What a check found says what to do about it, and by its exit code whether anybody has to.
func TestFsckReport(t *testing.T) {
	w := newScripted(t)
	_, host := w.serve()
	w.open()
	sound := tiers.Checked{Phase: tiers.CheckDone, Records: map[string]int64{"blob": 10, "manifest": 5}, Objects: 14, ReadBytes: 3 << 20, Found: map[string]int64{}, Severity: map[tiers.Severity]int64{}, Findings: []tiers.Finding{}}
	lost := tiers.Finding{Invariant: "I1", Kind: "blob-lost", Severity: tiers.Danger, Store: "s", Tier: "dev", Repository: "acme/app", Key: "blobs/sha256/01/x", Digest: digest.FromString("lost"),
		Affected: []string{"dev/acme/app:1.0"}, Message: "the object is gone", Remedy: "push it again"}
	left := tiers.Finding{Invariant: "I8", Kind: "stray", Severity: tiers.Info, Key: "blobs/y", Message: "nothing names it", Remedy: "none"}
	mended := tiers.Finding{Invariant: "I3", Kind: "link-dead", Severity: tiers.Fault, Message: "it leads nowhere", Remedy: "fsck --repair", Repaired: true}
	stuck := tiers.Finding{Invariant: "I3", Kind: "link-dead", Severity: tiers.Fault, Message: "it leads nowhere", Remedy: "check again", Problem: "it was changed\x1b[2J"}
	with := func(severity map[tiers.Severity]int64, repaired int64, more int64, findings ...tiers.Finding) checked {
		c := sound
		c.Findings, c.Severity, c.Repaired, c.Found = findings, severity, repaired, map[string]int64{}
		for _, f := range findings {
			c.Found[f.Kind]++
		}
		if more > 0 {
			c.Found["blob-lost"] += more
		}
		return checked{c}
	}
	cutOff := sound
	cutOff.Phase = "blobs"
	for name, tt := range map[string]struct {
		result any
		code   int
		want   []string
	}{
		"sound": {checked{sound}, exitDone, []string{"✓ nothing is wrong (15 records and 14 objects", "3.0 MiB read", "The bytes were not read, manifests aside"}},
		"lost": {with(map[tiers.Severity]int64{tiers.Danger: 1}, 0, 0, lost), exitFailed, []string{
			"✗ danger I1 blob-lost dev/acme/app@" + digest.FromString("lost").String() + " blobs/sha256/01/x in bucket s", "  the object is gone", "Cannot be pulled whole: dev/acme/app:1.0",
			"→ push it again", "1 finding not repaired, 1 of them a danger", "sluice fsck --repair"}},
		"left over": {with(map[tiers.Severity]int64{tiers.Info: 1}, 0, 0, left), exitDone, []string{"! info I8 stray blobs/y", "nothing is wrong; 1 left over for garbage collection"}},
		"repaired":  {with(map[tiers.Severity]int64{}, 1, 0, mended), exitDone, []string{"✓ error I3 link-dead", "  Repaired.", "what was wrong is repaired: 1 finding"}},
		"not all":   {with(map[tiers.Severity]int64{tiers.Fault: 1}, 1, 0, mended, stuck), exitFailed, []string{"Not repaired: it was changed�[2J", "1 finding not repaired, 0 of them a danger", "link-dead  2"}},
		"many":      {with(map[tiers.Severity]int64{tiers.Danger: 1001}, 0, 1000, lost), exitFailed, []string{"… and 1000 findings more than a report has room for", "blob-lost  1001", "1001 findings not repaired"}},
		"cut off":   {checked{cutOff}, exitFailed, []string{"does not say that all was looked at"}},
		"nothing":   {checked{}, exitFailed, []string{"does not say that all was looked at"}},
	} {
		t.Run(name, func(t *testing.T) {
			w.result(tt.result)
			out := expect(t, tt.code, "", "fsck", "--registry", host)
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			out = expect(t, tt.code, `"result": {`, "fsck", "--registry", host, "-o", "json")
			if err := json.Unmarshal([]byte(out), new(runs.Run)); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			if name != "nothing" { // which no check comes to
				described(t, host, "/api/v1/checks/"+newest(t, host, "checks"))
			}
		})
	}
	w.result(checked{sound})
	if out := expect(t, exitDone, `"subset": "1/5"`, "fsck", "--read-data-subset", "1/5", "--repair", "--registry", host, "-o", "json"); !strings.Contains(out, `"readData": true`) || !strings.Contains(out, `"repair": true`) {
		t.Errorf("it asks for\n%s", out)
	}
	if out := expect(t, exitDone, "Of the bytes a part was read: 1/5", "fsck", "--read-data-subset", "1/5", "--registry", host); strings.Contains(out, "were not read") {
		t.Errorf("it says\n%s", out)
	}
	if err := os.Remove(filepath.Join(w.dir, "result")); err != nil {
		t.Fatal(err)
	}
	expect(t, exitFailed, "did not come to its end: open ", "fsck", "--registry", host)
}
