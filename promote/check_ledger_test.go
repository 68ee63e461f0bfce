package promote_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// What somebody wrote into the catalog past the registry is found, and named with both
// values and the entry.
func TestLedgerCheck(t *testing.T) {
	l := newLost(t)
	l.fill()
	l.seal(l.ledger)
	if found := l.check(); !found.Sound() {
		t.Fatalf("nothing is wrong, and it finds %+v", found.Findings)
	}
	catalog := l.config.Catalog
	first, err := l.repo("dev").Resolve(t.Context(), "back")
	l.must(err)
	for _, c := range []struct {
		name, key, kind string
		edit            func(value []byte) []byte // nil: it is deleted
	}{
		{"a tag points elsewhere", "tier/release/tag/acme/app:1.0", promote.KindLedgerDiffers, func(v []byte) []byte {
			return pointed(v, first.Digest)
		}},
		{"a tag nobody set", "tier/stable/tag/acme/app:planted", promote.KindLedgerUnexplained, func([]byte) []byte {
			return fmt.Appendf(nil, `{"digest":%q,"mediaType":"a/b","size":1,"updatedAt":"2026-01-01T00:00:00Z","by":"x"}`, first.Digest)
		}},
		{"a tag is gone", "tier/stable/tag/acme/app:latest", promote.KindLedgerLost, nil},
		{"a manifest is gone", "tier/dev/manifest/acme/app@" + first.Digest.String(), promote.KindLedgerLost, nil},
		{"a manifest of another size", "tier/dev/manifest/acme/app@" + first.Digest.String(), promote.KindLedgerDiffers, func(v []byte) []byte {
			return []byte(strings.Replace(string(v), `"size":`, `"size":1`, 1))
		}},
		{"another policy", "policy/dev-to-stable", promote.KindLedgerDiffers, func(v []byte) []byte {
			return pointed(v, first.Digest)
		}},
		{"a policy that governs nothing", "tier-policy/stable", promote.KindLedgerDiffers, func([]byte) []byte { return []byte("other") }},
		{"a promotion", "promotion/" + l.refused(), promote.KindLedgerDiffers, func(v []byte) []byte {
			return []byte(strings.Replace(string(v), `"state":"Failed"`, `"state":"Succeeded"`, 1))
		}},
	} {
		records, err := catalog.Get(t.Context(), c.key)
		l.must(err)
		change := tiers.Change{Delete: []string{c.key}}
		if c.edit != nil {
			change = tiers.Change{Put: []tiers.Put{{Key: c.key, Value: c.edit(records[0].Value)}}}
		}
		_, err = catalog.Commit(t.Context(), change)
		l.must(err)
		found := l.check()
		if !slices.ContainsFunc(found.Findings, func(f tiers.Finding) bool {
			return f.Kind == c.kind && f.Key == c.key && f.Severity == tiers.Danger && strings.Contains(f.Message, "ledger")
		}) {
			t.Errorf("%s: it finds %+v", c.name, found.Findings)
		}
		if n := found.Found[promote.KindLedgerDiffers] + found.Found[promote.KindLedgerLost] + found.Found[promote.KindLedgerUnexplained]; n != 1 {
			t.Errorf("%s: %d differences", c.name, n)
		}
		back := tiers.Change{Delete: []string{c.key}}
		if records[0].Revision != 0 {
			back = tiers.Change{Put: []tiers.Put{{Key: c.key, Value: records[0].Value}}}
		}
		_, err = catalog.Commit(t.Context(), back)
		l.must(err)
	}
}

// pointed puts another digest in the place of the first in a record.
func pointed(value []byte, d digest.Digest) []byte {
	before, rest, _ := strings.Cut(string(value), `"digest":"`)
	_, after, _ := strings.Cut(rest, `"`)
	return []byte(before + `"digest":"` + d.String() + `"` + after)
}

// refused is the promotion that failed.
func (l *lost) refused() string {
	l.Helper()
	page, _, err := l.engine.Promotions(l.Context(), promote.Filter{State: promote.Failed}, "", 1)
	if err != nil || len(page) != 1 {
		l.Fatal(page, err)
	}
	return page[0].ID
}

// While pushes and promotions go on, nothing is found that is not wrong.
func TestLedgerCheckWhile(t *testing.T) {
	l := newLost(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			_, err = l.push(fmt.Sprint("tag", i%3), fmt.Sprint(i))
		}
		done <- err
	}()
	for range 3 {
		if found := l.check(); !found.Sound() {
			t.Errorf("it finds %+v", found.Findings)
		}
	}
	cancel()
	l.must(<-done)
}

// push pushes an empty image, for use beside the test.
func (l *lost) push(tag, content string) (digest.Digest, error) {
	ctx := context.WithoutCancel(l.Context())
	config := fmt.Sprintf(`{"content":%q}`, content)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromString(config), Size: int64(len(config))}
	r, err := l.registry.Repository("dev", repository, "dev@example.com")
	if err != nil {
		return "", err
	}
	if err := r.Push(ctx, desc, io.MultiReader(strings.NewReader(config))); err != nil {
		return "", err
	}
	body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[]}`,
		ocispec.MediaTypeImageManifest, desc.MediaType, desc.Digest, desc.Size)
	pushed, err := r.PutManifest(ctx, tag, "", ocispec.MediaTypeImageManifest, []byte(body))
	return pushed.Digest, err
}
