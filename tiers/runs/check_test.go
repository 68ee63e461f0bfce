package runs_test

import (
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/runs"
)

// The records of runs are known to a check, while one goes on too, and those that cannot be
// read are found. They keep no other run from beginning or from being listed.
func TestCheckRuns(t *testing.T) {
	t.Parallel()
	w, g := newWorld(t), newGate()
	r := w.replica(map[runs.Kind]runs.Job{runs.Collection: {Work: nil2}, runs.Check: {Work: g.work}}, nil)
	w.end(r, w.start(r, nil).ID, runs.Succeeded)
	other, err := r.Start(t.Context(), runs.Check, "alice", nil)
	if err != nil {
		t.Fatal(err)
	}
	receive(t, g.begun)
	registry, err := tiers.New(t.Context(), w.config)
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, want ...string) {
		t.Helper()
		var o tiers.CheckOptions
		runs.AddCheck(&o)
		found, err := registry.Check(t.Context(), o, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found.Findings {
			got = append(got, f.Kind+" "+f.Key)
		}
		slices.Sort(want)
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s: found %q, want %q", when, got, want)
		}
		if found.Records["running"] != 1 {
			t.Errorf("%s: counted %v", when, found.Records)
		}
	}
	check("sound")
	id := strings.Repeat("0", 26)
	put := func(key, value string) {
		t.Helper()
		if _, err := w.config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(value)}}}); err != nil {
			t.Fatal(err)
		}
	}
	put("run/collection/"+id, "{")
	put("run/check/x", string(tiers.Encode(other)))
	check("planted", "record-invalid run/collection/"+id, "record-invalid run/check/x")
	w.end(r, w.start(r, nil).ID, runs.Succeeded)
	past, _, err := r.List(t.Context(), runs.Collection, "", 10)
	if err != nil || len(past) != 3 || past[2].ID != id || past[2].State != runs.Interrupted || past[2].Error == "" {
		t.Errorf("listed %s, %v", text(t, past), err)
	}
	close(g.open)
}
