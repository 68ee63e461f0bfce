package tiers_test

import (
	"errors"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

func TestParseSubset(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]tiers.Subset{
		"": {}, "1/5": {Part: 1, Of: 5}, "5/5": {Part: 5, Of: 5}, "10%": {Percent: 10}, "0.5%": {Percent: 0.5}, "100%": {Percent: 100},
		"4096": {Bytes: 4096}, "500M": {Bytes: 500 << 20}, "1K": {Bytes: 1 << 10}, "2G": {Bytes: 2 << 30}, "3T": {Bytes: 3 << 40},
	} {
		if got, err := tiers.ParseSubset(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"0/5", "6/5", "1/0", "/5", "1/", "-1/5", "1/5/5", "0%", "101%", "%", "-1%", "1e1%", "0", "0M", "M", "10m", "10X", "1.5G", "9999999999T", "999999999999999999T", " 1/5", "all"} {
		if got, err := tiers.ParseSubset(text); !errors.Is(err, oci.ErrRequestInvalid) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
}
