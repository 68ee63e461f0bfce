package runs_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"sluice.dev/sluice/tiers/runs"
)

// What is too large loses the ends of its lists, all to the same length, and says how much;
// numbers stay as they are.
func TestBounded(t *testing.T) {
	t.Parallel()
	list := func(n, size int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = strings.Repeat("x", size)
		}
		return all
	}
	type result struct {
		Count    int64          `json:"count"`
		Findings []string       `json:"findings"`
		Inner    map[string]any `json:"inner"`
	}
	for name, tt := range map[string]struct {
		v       any
		omitted int
		want    func(got result) bool
	}{
		"small": {result{Count: math.MaxInt64, Findings: list(3, 3)}, 0, func(got result) bool { return got.Count == math.MaxInt64 && len(got.Findings) == 3 }},
		"one list": {result{Count: math.MaxInt64, Findings: list(1000, 100)}, 1000 - 64, func(got result) bool {
			return got.Count == math.MaxInt64 && len(got.Findings) == 64 && len(got.Findings[0]) == 100
		}},
		"a long and a short one": {result{Findings: list(5, 10), Inner: map[string]any{"names": list(1000, 100)}}, 1000 - 64, func(got result) bool {
			return len(got.Findings) == 5 && len(got.Inner["names"].([]any)) == 64
		}},
		"large items": {result{Findings: list(3, 20_000)}, 3, func(got result) bool { return len(got.Findings) == 0 }},
		"no list":     {result{Inner: map[string]any{"text": strings.Repeat("x", 20_000)}}, 0, nil},
	} {
		data, omitted, err := runs.Bounded(tt.v, 10_000)
		if err != nil || len(data) > 10_000 || omitted != tt.omitted {
			t.Errorf("%s: %d bytes, %d omitted, %v", name, len(data), omitted, err)
			continue
		}
		if tt.want == nil {
			if data != nil {
				t.Errorf("%s: %s", name, data)
			}
			continue
		}
		var got result
		if err := json.Unmarshal(data, &got); err != nil || !tt.want(got) {
			t.Errorf("%s: %v, %.200s", name, err, data)
		}
	}
	if _, _, err := runs.Bounded(math.NaN(), 100); err == nil {
		t.Error("what JSON cannot say is rendered")
	}
}
