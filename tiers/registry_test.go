package tiers_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// A configuration that cannot be meant is refused.
func TestNew(t *testing.T) {
	b := stores.Bucket(t)
	dev := tiers.Tier{Name: "dev", Push: true, Bucket: b}
	for name, edit := range map[string]func(*tiers.Config){
		"no catalog":              func(c *tiers.Config) { c.Catalog = nil },
		"no logger":               func(c *tiers.Config) { c.Log = nil },
		"no tiers":                func(c *tiers.Config) { c.Tiers = nil },
		"a name of two":           func(c *tiers.Config) { c.Tiers[0].Name = "dev/a" },
		"no name":                 func(c *tiers.Config) { c.Tiers[0].Name = "" },
		"upper case":              func(c *tiers.Config) { c.Tiers[0].Name = "Dev" },
		"twice":                   func(c *tiers.Config) { c.Tiers = append(c.Tiers, dev) },
		"no way in":               func(c *tiers.Config) { c.Tiers[0].Push = false },
		"two ways in":             func(c *tiers.Config) { c.Tiers[1].Push = true },
		"from nowhere":            func(c *tiers.Config) { c.Tiers[1].From = "other" },
		"from itself":             func(c *tiers.Config) { c.Tiers[1].From = "stable" },
		"no bucket":               func(c *tiers.Config) { c.Tiers[0].Bucket = nil },
		"a pattern that is none":  func(c *tiers.Config) { c.Tiers[1].MovingTags = []string{"[a"} },
		"from one that comes yet": func(c *tiers.Config) { slices.Reverse(c.Tiers) },
	} {
		config := tiers.Config{Catalog: stores.Catalog(t), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
			Tiers: []tiers.Tier{dev, {Name: "stable", From: "dev", Bucket: b}}}
		edit(&config)
		if _, err := tiers.New(t.Context(), config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// Names are checked with the tier, and repositories are listed in order.
func TestRepositories(t *testing.T) {
	w := newWorld(t, nil)
	for name, c := range map[string]struct {
		tier, name string
		want       error
	}{
		"unknown tier": {"other", "acme/app", oci.ErrTierUnknown},
		"no name":      {"dev", "", oci.ErrNameInvalid},
		"dots":         {"dev", "../app", oci.ErrNameInvalid},
		"a NUL":        {"dev", "a\x00b", oci.ErrNameInvalid},
		"upper case":   {"dev", "App", oci.ErrNameInvalid},
		"a digest":     {"dev", "app@sha256:x", oci.ErrNameInvalid},
		"good":         {"dev", "acme/app", nil},
	} {
		if _, err := w.Repository(c.tier, c.name, "alice"); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	want := []string{"a", "a-b", "a/b", "a0", "b"}
	for _, name := range []string{"b", "a/b", "a", "a0", "a-b"} {
		w.image(w.repo("dev", name), "v1", 1)
	}
	w.blob(w.repo("dev", "blobs-alone"), nil) // is no repository yet
	var got []string
	for last := ""; ; {
		page, next, err := w.Repositories(t.Context(), "dev", last, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, page...); next == "" {
			break
		}
		last = next
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if stable := w.stable.Tier; !stable.Moves("latest") || stable.Moves("v1") || stable.Moves("latest2") {
		t.Error("the patterns of moving tags mean something else")
	}
}

// lying is a bucket that gives another identity the first time.
type lying struct {
	tiers.Bucket
	asked int
}

func (l *lying) Identity(ctx context.Context) (string, error) {
	id, err := l.Bucket.Identity(ctx)
	if l.asked++; l.asked == 1 && err == nil {
		last := byte('0')
		if id[len(id)-1] == last {
			last++
		}
		id = id[:len(id)-1] + string(last)
	}
	return id, err
}

// A registry that was told a wrong identity would record what it is given where nobody else
// looks: it does not start.
func TestWrongIdentity(t *testing.T) {
	config := tiers.Config{Catalog: stores.Catalog(t), Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: &lying{Bucket: stores.Bucket(t)}}}}
	if _, err := tiers.New(t.Context(), config); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("got %v, want %v", err, oci.ErrUnavailable)
	}
	if _, err := tiers.New(t.Context(), config); err != nil { // the second time it is right
		t.Error(err)
	}
}
