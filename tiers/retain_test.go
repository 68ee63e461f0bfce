package tiers_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// clock is the time of a world.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const day = 24 * time.Hour

// ruled is an edit that gives dev retention, and the world a clock.
func ruled(c *clock, rules ...tiers.RetentionRule) func(*tiers.Config) {
	c.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return func(config *tiers.Config) {
		config.Now = c.time
		config.Tiers[0].Retention.Rules = rules
	}
}

// retain carries out retention, dry first: that changes nothing and says what then happens.
func (w *world) retain(o tiers.RetainOptions) tiers.Retained {
	w.t.Helper()
	before := w.catalog.all(w.t, "")
	o.DryRun = true
	would := w.retainOnce(o)
	if after := w.catalog.all(w.t, ""); !slices.EqualFunc(before, after, func(a, b tiers.Record) bool { return a.Key == b.Key && a.Revision == b.Revision }) {
		w.t.Error("a dry run changed something")
	}
	o.DryRun = false
	did := w.retainOnce(o)
	w.same(would, did)
	return did
}

func (w *world) retainOnce(o tiers.RetainOptions) tiers.Retained {
	w.t.Helper()
	done, err := w.Retain(w.t.Context(), o, nil)
	if err != nil || len(done.Problems) > 0 {
		w.t.Fatalf("dry %v: %v, %v", o.DryRun, err, done.Problems)
	}
	return done
}

// same compares what a dry run says with what was done; the order may be another.
func (w *world) same(would, did tiers.Retained) {
	w.t.Helper()
	said, was := told(would), told(did)
	for _, line := range said {
		if !slices.Contains(was, line) {
			w.t.Errorf("only the dry run: %s", line)
		}
	}
	for _, line := range was {
		if !slices.Contains(said, line) {
			w.t.Errorf("not in the dry run: %s", line)
		}
	}
	would.Items, did.Items = nil, nil
	if len(said) != len(was) || fmt.Sprintf("%+v", would) != fmt.Sprintf("%+v", did) {
		w.t.Errorf("the dry run says %+v, and it is %+v", would, did)
	}
}

func told(r tiers.Retained) []string {
	var lines []string
	for _, i := range r.Items {
		lines = append(lines, fmt.Sprintf("%+v", i))
	}
	slices.Sort(lines)
	return lines
}

// tags lists the tags of dev, without those of digests.
func (w *world) tags() string {
	w.t.Helper()
	tags, _, err := w.dev.Tags(w.t.Context(), "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(slices.DeleteFunc(tags, oci.IsAttachmentTag), " ")
}

// here says which of some manifests are in dev, by name.
func (w *world) here(named map[string]ocispec.Descriptor) string {
	w.t.Helper()
	var there []string
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if _, err := w.dev.Resolve(w.t.Context(), named[name].Digest.String()); err == nil {
			there = append(there, name)
		}
	}
	return strings.Join(there, " ")
}

// Rules by tags. Each tag has an image of its own and is a day younger than the one before.
func TestRetainRules(t *testing.T) {
	all := "pr-1 v1 pr-2 latest pr-3 v2 pr-4 main"
	for name, tc := range map[string]struct {
		rules []tiers.RetentionRule
		want  string
	}{
		"none":                     {nil, "latest main pr-1 pr-2 pr-3 pr-4 v1 v2"},
		"keep the last":            {[]tiers.RetentionRule{{KeepLast: 3}}, "main pr-4 v2"},
		"more than there are":      {[]tiers.RetentionRule{{KeepLast: 30}}, "latest main pr-1 pr-2 pr-3 pr-4 v1 v2"},
		"of a pattern":             {[]tiers.RetentionRule{{Tags: []string{"pr-*"}, KeepLast: 1}}, "latest main pr-4 v1 v2"},
		"of two patterns together": {[]tiers.RetentionRule{{Tags: []string{"pr-*", "v*"}, KeepLast: 2}}, "latest main pr-4 v2"},
		"by age":                   {[]tiers.RetentionRule{{KeepFor: 3*day + 1}}, "main pr-4 v2"},
		"by either":                {[]tiers.RetentionRule{{KeepFor: 2 * day, KeepLast: 4}}, "main pr-3 pr-4 v2"},
		"by either, the other":     {[]tiers.RetentionRule{{KeepFor: 4*day + 1, KeepLast: 2}}, "main pr-3 pr-4 v2"},
		"releases stay":            {[]tiers.RetentionRule{{Tags: []string{"v*"}, Keep: true}, {KeepLast: 1}}, "main v1 v2"},
		"the first decides":        {[]tiers.RetentionRule{{Tags: []string{"pr-*"}, KeepLast: 1}, {Tags: []string{"*-2", "v*"}, KeepLast: 1}, {KeepFor: 30 * day}}, "latest main pr-4 v2"},
		"of this repository":       {[]tiers.RetentionRule{{Repositories: []string{"acme/**"}, KeepLast: 1}}, "main"},
		"of another":               {[]tiers.RetentionRule{{Repositories: []string{"acme/*/x", "other"}, KeepLast: 1}}, "latest main pr-1 pr-2 pr-3 pr-4 v1 v2"},
		"kept before":              {[]tiers.RetentionRule{{Repositories: []string{"acme/app"}, Keep: true}, {KeepLast: 1}}, "latest main pr-1 pr-2 pr-3 pr-4 v1 v2"},
		"without tags alone":       {[]tiers.RetentionRule{{Untagged: time.Hour}}, "latest main pr-1 pr-2 pr-3 pr-4 v1 v2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := &clock{}
			w := newWorld(t, ruled(c, tc.rules...))
			for i, tag := range strings.Fields(all) {
				w.image(w.dev, tag, uint64(i))
				c.pass(day)
			}
			did := w.retain(tiers.RetainOptions{})
			if got := w.tags(); got != tc.want {
				t.Errorf("left are %q, want %q", got, tc.want)
			}
			gone := 8 - len(strings.Fields(tc.want))
			if did.Tags != gone || did.Manifests != gone || did.Referrers != 0 || len(did.Kept) != 0 {
				t.Errorf("did %+v, want %d to go", did, gone)
			}
			w.audit(true)
			if again := w.retain(tiers.RetainOptions{}); again.Tags+again.Manifests > 0 {
				t.Errorf("the next run did %+v", again)
			}
		})
	}
}

// Tags that were set at once are told apart by their names.
func TestRetainTies(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{KeepLast: 2}))
	for i, tag := range []string{"c", "a", "d", "b"} {
		w.image(w.dev, tag, uint64(i))
	}
	w.retain(tiers.RetainOptions{})
	if got := w.tags(); got != "c d" {
		t.Errorf("left are %q", got)
	}
}

// An image goes with its last tag, and not before; whoever asked is in the event.
func TestRetainImage(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"pr-*"}, KeepFor: day}))
	both, one := w.image(w.dev, "pr-1", 1), w.image(w.dev, "pr-2", 2)
	for _, tag := range []string{"main", "pr-1a"} {
		if err := w.dev.Tag(t.Context(), both, tag); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.dev.Tag(t.Context(), one, "pr-3"); err != nil {
		t.Fatal(err)
	}
	before := len(w.events())
	c.pass(2 * day)
	did := w.retain(tiers.RetainOptions{Actor: "bob"})
	if did.Tags != 4 || did.Manifests != 1 || did.Bytes != one.Size || w.tags() != "main" {
		t.Errorf("did %+v, left are %s", did, w.tags())
	}
	if got := w.here(map[string]ocispec.Descriptor{"both": both, "one": one}); got != "both" {
		t.Errorf("here are %s", got)
	}
	for _, e := range w.events()[before:] {
		if e.Actor != "retention" || e.Cause != "retention[0]: tags pr-*, keepFor 24h; asked for by bob" {
			t.Errorf("event %+v", e)
		}
	}
	w.audit(true)
}

// What is immutable neither goes nor lets its image go, though clients may not delete
// anything here at all.
func TestRetainImmutable(t *testing.T) {
	c := &clock{}
	edit := ruled(c, tiers.RetentionRule{KeepFor: day}, tiers.RetentionRule{Untagged: day})
	w := newWorld(t, func(config *tiers.Config) {
		edit(config)
		config.Tiers[0].Limits = tiers.Limits{ImmutableTags: []string{"v*"}, NoDelete: true}
	})
	release := w.image(w.dev, "v1", 1)
	if err := w.dev.Tag(t.Context(), release, "main"); err != nil {
		t.Fatal(err)
	}
	w.image(w.dev, "pr-1", 2)
	c.pass(2 * day)
	did := w.retain(tiers.RetainOptions{})
	if w.tags() != "v1" || did.Tags != 2 || did.Manifests != 1 || did.Kept[tiers.KeptImmutable] != 1 {
		t.Errorf("left are %s, did %+v", w.tags(), did)
	}
	w.audit(true)
}

// Manifests without a tag go by age, but for what something needs.
func TestRetainUntagged(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Untagged: 7 * day}))
	config := w.blob(w.dev, nil)
	old := w.image(w.dev, "", 1)
	child, loose := w.image(w.dev, "", 2), w.image(w.dev, "", 3)
	parent := w.manifest(w.dev, "multi", index(child))
	orphan := w.manifest(w.dev, "", index(loose))
	subject := w.image(w.dev, "main", 4)
	attached := w.manifest(w.dev, "", image(config, &subject, evidenceType))
	never := missing(ocispec.MediaTypeImageManifest)
	early := w.manifest(w.dev, "", image(config, &never, evidenceType))
	moved := w.image(w.dev, "latest", 5)
	c.pass(6 * day)
	w.image(w.dev, "latest", 6)
	young := w.image(w.dev, "", 7)
	lately := w.manifest(w.dev, "", image(config, &never, "application/x.lately"))
	named := map[string]ocispec.Descriptor{"old": old, "child": child, "loose": loose, "parent": parent, "orphan": orphan, "subject": subject,
		"attached": attached, "early": early, "moved": moved, "young": young, "lately": lately}
	w.retain(tiers.RetainOptions{})
	if got := strings.Fields(w.here(named)); len(got) != len(named) {
		t.Errorf("too early: left are %v", got)
	}
	c.pass(day)
	did := w.retain(tiers.RetainOptions{})
	if got := w.here(named); got != "attached child lately parent subject young" {
		t.Errorf("left are %s", got)
	}
	if did.Manifests != 5 || did.Referrers != 1 || did.Tags != 0 {
		t.Errorf("did %+v", did)
	}
	w.audit(true)
}

// What a client pushes again is as young as if it had come just now.
func TestRetainPushedAgain(t *testing.T) {
	c := &clock{}
	w := newWorld(t, ruled(c, tiers.RetentionRule{Tags: []string{"k*"}, KeepFor: 7 * day}, tiers.RetentionRule{Tags: []string{"n*"}, KeepLast: 1}, tiers.RetentionRule{Untagged: 7 * day}))
	blob := w.blob(w.dev, bytesOf(1, 40))
	body := func(i int) []byte { return image(blob, nil, fmt.Sprintf("application/x.%d", i)) }
	push := func(i int, reference string) {
		t.Helper()
		w.manifest(w.dev, reference, body(i))
	}
	push(1, "k1")
	push(2, "k2")
	push(3, "")
	push(4, "")
	push(5, "n1")
	push(6, "n2")
	c.pass(time.Hour)
	push(7, "n3")
	c.pass(6 * day)
	events := len(w.events())
	for i, reference := range map[int]string{1: "k1", 3: "", 5: "n1"} {
		push(i, reference)
		push(i, reference) // at once: nothing is written for it
	}
	if more := w.events()[events:]; len(more) > 0 {
		t.Errorf("events %+v", more)
	}
	c.pass(day)
	w.retain(tiers.RetainOptions{})
	if got := w.tags(); got != "k1 n1 n3" {
		t.Errorf("left are %s", got)
	}
	named := map[string]ocispec.Descriptor{"3": {Digest: digest.FromBytes(body(3))}, "4": {Digest: digest.FromBytes(body(4))}}
	if got := w.here(named); got != "3" {
		t.Errorf("without tag here are %s", got)
	}
	c.pass(7 * day)
	w.retain(tiers.RetainOptions{})
	// What was pushed again since the last one was set counts as newer than that.
	if got := w.tags() + w.here(named); got != "n1 n3" {
		t.Errorf("at last here are %s", got)
	}
	w.audit(true)
}

// The bytes of what went are the quota's again.
func TestRetainQuota(t *testing.T) {
	c := &clock{}
	edit := ruled(c, tiers.RetentionRule{KeepLast: 1})
	w := newWorld(t, func(config *tiers.Config) {
		edit(config)
		config.Tiers[0].Limits = quotas(tiers.Quota{Bytes: 1e6}, tiers.Quota{Prefix: "acme", Bytes: 1e6})
	})
	for i := range 3 {
		w.image(w.dev, fmt.Sprintf("v%d", i), uint64(i))
	}
	before := used(t, w.Registry)
	did := w.retain(tiers.RetainOptions{})
	var held int64
	if _, err := fmt.Sscanf(before, "=%d", &held); err != nil || did.Bytes == 0 {
		t.Fatal(before, err, did)
	}
	if got, want := used(t, w.Registry), fmt.Sprintf("=%d acme=%d", held-did.Bytes, held-did.Bytes); got != want {
		t.Errorf("used before %s, after %s, want %s", before, got, want)
	}
	w.audit(true)
}

func TestRetentionProblems(t *testing.T) {
	many := make([]tiers.RetentionRule, 101)
	for name, tc := range map[string]struct {
		rules []tiers.RetentionRule
		above bool
		want  string // of the only problem; empty: none
	}{
		"nothing above":          {above: true},
		"everything":             {rules: []tiers.RetentionRule{{Repositories: []string{"acme/**", "x/{a,b}"}, Tags: []string{"v*"}, Keep: true}, {Tags: []string{"pr-*"}, KeepLast: 10_000, KeepFor: time.Minute}, {Repositories: []string{"**"}, KeepFor: 1}, {Untagged: time.Hour}}},
		"keep all, then nothing": {rules: []tiers.RetentionRule{{Repositories: []string{"acme/**"}, Keep: true}, {Keep: true}}},
		"above":                  {rules: []tiers.RetentionRule{{KeepLast: 1}}, above: true, want: "retention takes nothing away here"},
		"too many":               {rules: many, want: "retention has 101 rules: want up to 100"},
		"nothing kept":           {rules: []tiers.RetentionRule{{Tags: []string{"pr-*"}}}, want: "retention[0] keeps nothing: want keepLast, keepFor or keep: true"},
		"no pattern":             {rules: []tiers.RetentionRule{{Tags: []string{"a", "["}, KeepLast: 1}}, want: `retention[0].tags[1] "[" is no pattern`},
		"empty pattern":          {rules: []tiers.RetentionRule{{Tags: []string{""}, KeepLast: 1}}, want: `retention[0].tags[0] "" is no pattern`},
		"no repository":          {rules: []tiers.RetentionRule{{Repositories: []string{"{"}, KeepLast: 1}}, want: `retention[0].repositories[0] "{" is no pattern`},
		"absolute":               {rules: []tiers.RetentionRule{{Repositories: []string{"/acme"}, KeepLast: 1}}, want: `retention[0].repositories[0] "/acme"`},
		"negative":               {rules: []tiers.RetentionRule{{KeepLast: -1}}, want: "retention[0].keepLast is -1"},
		"too many to keep":       {rules: []tiers.RetentionRule{{KeepLast: 10_001}}, want: "retention[0].keepLast is 10001: want how many tags stay, up to 10000"},
		"negative age":           {rules: []tiers.RetentionRule{{KeepFor: -time.Hour}}, want: "retention[0].keepFor is -1h"},
		"short":                  {rules: []tiers.RetentionRule{{Untagged: 59 * time.Minute}}, want: "retention[0].untagged is 59m: want 1h or more"},
		"negative untagged":      {rules: []tiers.RetentionRule{{Untagged: -time.Hour}}, want: "retention[0].untagged is -1h"},
		"both":                   {rules: []tiers.RetentionRule{{KeepLast: 1, Untagged: day}}, want: "retention[0].untagged is about manifests without a tag"},
		"tags without a tag":     {rules: []tiers.RetentionRule{{Tags: []string{"v*"}, Untagged: day}}, want: "retention[0].untagged is about manifests without a tag"},
		"keep and keep":          {rules: []tiers.RetentionRule{{Keep: true, KeepLast: 1}}, want: "retention[0].keep keeps everything"},
		"hidden":                 {rules: []tiers.RetentionRule{{Untagged: day}, {Repositories: []string{"**"}, Tags: []string{"*"}, KeepLast: 1}, {Tags: []string{"v*"}, Keep: true}}, want: "retention[2] never decides: rule [1] is about everything"},
		"untagged hidden":        {rules: []tiers.RetentionRule{{Keep: true}, {Repositories: []string{"acme/**"}, Untagged: day}}, want: "retention[1] never decides: rule [0]"},
		"twice without a tag":    {rules: []tiers.RetentionRule{{Untagged: day}, {Untagged: 2 * day}}, want: "retention[1] never decides: rule [0]"},
	} {
		t.Run(name, func(t *testing.T) {
			list := []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(t)}}
			if tc.above {
				list = append(list, tiers.Tier{Name: "stable", From: "dev", Bucket: stores.Bucket(t)})
			}
			list[len(list)-1].Retention.Rules = tc.rules
			_, err := tiers.New(t.Context(), tiers.Config{Catalog: stores.Catalog(t), Log: slog.New(slog.DiscardHandler), Tiers: list})
			if tc.want == "" && err == nil {
				return
			}
			if tc.want == "" || err == nil || !strings.Contains(err.Error(), tc.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("New says %v, want one problem: %q", err, tc.want)
			}
		})
	}
}
