package main

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// Evidence that was changed in a copy of the bucket is named; what lies elsewhere is not held
// against it.
func TestEvidenceInCopy(t *testing.T) {
	layer := `{"dsseEnvelope":{}}`
	manifest := `{"schemaVersion":2,"layers":[{"digest":"` + digest.FromString(layer).String() + `"}]}`
	at := func(content, id string) string {
		return "blobs/sha256/" + digest.FromString(content).Encoded() + "/" + id
	}
	body := tiers.Encode(promote.Promotion{ID: "01", Verdict: &policy.Verdict{Rules: []policy.Rule{
		{Name: "built", Allowed: true, Evidence: []policy.Used{{Digest: digest.FromString(manifest)}}},
		{Name: "again", Allowed: true, Evidence: []policy.Used{{Digest: digest.FromString(manifest)}}},
	}}})
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
		here  int64
	}{
		"all there":                     {map[string]string{at(manifest, "1"): manifest, at(layer, "1"): layer}, "", 1},
		"the manifest changed":          {map[string]string{at(manifest, "1"): manifest + " ", at(layer, "1"): layer}, "promotion 01 counted for rule built", 1},
		"the statement changed":         {map[string]string{at(manifest, "1"): manifest, at(layer, "1"): "{}"}, at(layer, "1") + " are not what its digest says", 1},
		"a copy of it is as it was":     {map[string]string{at(manifest, "1"): "{}", at(manifest, "2"): manifest}, "", 1},
		"it lies in another bucket":     {nil, "", 0},
		"the statement lies in another": {map[string]string{at(manifest, "1"): manifest}, "", 1},
	} {
		root := fstest.MapFS{}
		for path, content := range tt.files {
			root[path] = &fstest.MapFile{Data: []byte(content)}
		}
		c := &evidenceCopy{root: root}
		got := strings.Join(c.event(tiers.Event{Type: tiers.EventPromoted, Body: body}), "\n")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Count(got, "promotion 01") > 1 {
			t.Errorf("%s: found %q, want %q", name, got, tt.want)
		}
		if c.here != tt.here || c.here+c.elsewhere != 1 {
			t.Errorf("%s: %d here, %d elsewhere", name, c.here, c.elsewhere)
		}
	}
}
