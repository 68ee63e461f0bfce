package tiers_test

import (
	"errors"
	"fmt"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

func TestParseSubset(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]tiers.Subset{
		"": {}, "1/5": {Part: 1, Of: 5}, "5/5": {Part: 5, Of: 5}, "10%": {Percent: 10}, "2.5%": {Percent: 2.5}, "100%": {Percent: 100},
		"1": {Bytes: 1}, "500M": {Bytes: 500 << 20}, "10k": {Bytes: 10 << 10}, "2G": {Bytes: 2 << 30}, "1t": {Bytes: 1 << 40},
	} {
		got, err := tiers.ParseSubset(text)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := tiers.ParseSubset(got.String()); err != nil || again != got {
			t.Errorf("%q is written %q and read %+v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"0/5", "6/5", "-1/5", "1/0", "1/20000", "1/5/6", "/", "a/b", "0%", "101%", "-1%", "NaN%", "%", "0", "-5", "5X", "M", "9999999999T", " 1/5", "1e3"} {
		if got, err := tiers.ParseSubset(text); !errors.Is(err, oci.ErrRequestInvalid) {
			t.Errorf("%q: got %+v, %v, want %v", text, got, err, oci.ErrRequestInvalid)
		}
	}
}

// The parts of a whole read everything once between them; other subsets read about as much
// as they say.
func TestCheckSubset(t *testing.T) {
	t.Parallel()
	c := newChecked(t, nil)
	c.widen()
	for i := range 100 {
		c.blob(c.dev, bytesOf(uint64(100+i), 10_000))
	}
	manifests := c.check(tiers.CheckOptions{}).ReadBytes // which are read anyway
	read := func(subset string) (blobs, size int64) {
		t.Helper()
		s, err := tiers.ParseSubset(subset)
		if err != nil {
			t.Fatal(err)
		}
		found := c.check(tiers.CheckOptions{ReadData: true, Subset: s})
		c.want(subset, found)
		return found.ReadBlobs, found.ReadBytes - manifests
	}
	all, size := read("")
	if all < 170 || size < 1_000_000 {
		t.Fatalf("read %d blobs of %d bytes", all, size)
	}
	var parts, bytes int64
	for part := 1; part <= 3; part++ {
		n, b := read(fmt.Sprintf("%d/3", part))
		if again, _ := read(fmt.Sprintf("%d/3", part)); again != n || n == 0 || n == all {
			t.Errorf("part %d: read %d blobs, and %d when asked again", part, n, again)
		}
		parts, bytes = parts+n, bytes+b
	}
	if parts != all || bytes != size {
		t.Errorf("three thirds are %d blobs of %d bytes, the whole %d of %d", parts, bytes, all, size)
	}
	if n, _ := read("100%"); n != all {
		t.Errorf("100%%: read %d of %d", n, all)
	}
	if n, _ := read("30%"); n < all/10 || n > all*6/10 {
		t.Errorf("30%%: read %d of %d", n, all)
	}
	if n, b := read("300K"); b > 300<<10 || b < 50_000 {
		t.Errorf("300K: read %d blobs of %d bytes", n, b)
	}
}
