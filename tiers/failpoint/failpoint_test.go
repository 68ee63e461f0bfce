package failpoint

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

func TestMain(m *testing.M) { os.Exit(stores.Main(m)) }

func TestParsePlan(t *testing.T) {
	got, err := ParsePlan("seed=7,kill=1/400,spare=3s,lose=0.5,late=1/300:2s,pause=1/500:3s,pausetxn=1/80,freeze=1/5000,at=s3.copy@promote/after#2,at=x,calm=c,log=/tmp/x")
	want := Plan{Seed: 7, Kill: 1. / 400, Spare: 3 * time.Second, Lose: 0.5, Late: 1. / 300, LateFor: 2 * time.Second, Pause: 1. / 500, PauseTxn: 1. / 80, Freeze: 1. / 5000, PauseFor: 3 * time.Second,
		At: map[string]int{"s3.copy@promote/after": 2, "x": 1}, Calm: "c", Log: "/tmp/x"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	if got, err := ParsePlan(""); err != nil || !reflect.DeepEqual(got, Plan{}) {
		t.Errorf("nothing is %+v, %v", got, err)
	}
	for _, wrong := range []string{"kill", "kill=2", "kill=1/0", "kill=-1", "pause=1/2", "late=1/2:x", "at=x#y", "die=1", "seed=x"} {
		if _, err := ParsePlan(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

// points makes the points of a plan over a real catalog and bucket. A kill unwinds the
// caller: in a process it would not come back.
func points(t *testing.T, plan Plan) (*Points, tiers.Config) {
	t.Helper()
	plan.Log, plan.Calm = filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "calm")
	p, err := New(plan)
	if err != nil {
		t.Fatal(err)
	}
	p.kill = func() { panic("killed") }
	return p, p.Over(tiers.Config{Catalog: stores.Catalog(t), Tiers: []tiers.Tier{{Name: "dev", Push: true, Bucket: stores.Bucket(t)}}})
}

func killed(f func()) (yes bool) {
	defer func() { yes = recover() != nil }()
	f()
	return false
}

func (p *Points) lines(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile(p.plan.Log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// A process is killed before or after what the passage names, at the number that it names.
func TestKillAt(t *testing.T) {
	change := func(key string) tiers.Change { return tiers.Change{Put: []tiers.Put{{Key: key}}} }
	for _, after := range []bool{false, true} {
		name := "txn.upload@serve/before"
		if after {
			name = "txn.upload@serve/after"
		}
		p, config := points(t, Plan{At: map[string]int{name: 2}})
		if killed(func() { _, _ = config.Catalog.Commit(t.Context(), change("upload/1")) }) {
			t.Error("killed at the first passage")
		}
		if !killed(func() { _, _ = config.Catalog.Commit(t.Context(), change("upload/2")) }) {
			t.Error("not killed at the second passage")
		}
		records, err := config.Catalog.Get(t.Context(), "upload/1", "upload/2")
		if err != nil || records[0].Revision == 0 || (records[1].Revision != 0) != after {
			t.Errorf("%s: got %+v, %v", name, records, err)
		}
		if lines := p.lines(t); !slices.Contains(lines, "kill "+name) {
			t.Errorf("the log says %q", lines)
		}
	}
}

// A process freezes before a write, and goes on with it when it is continued.
func TestFreeze(t *testing.T) {
	p, config := points(t, Plan{Freeze: 1})
	stopped := 0
	p.stop = func() { stopped++ }
	if _, err := config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "k"}}}); err != nil {
		t.Error(err)
	}
	records, err := config.Catalog.Get(t.Context(), "k")
	if err != nil || records[0].Revision == 0 || stopped != 1 {
		t.Errorf("stopped %d times, got %+v, %v", stopped, records, err)
	}
}

// A process that is spared is not killed yet.
func TestSpare(t *testing.T) {
	_, config := points(t, Plan{Kill: 1, Spare: time.Hour})
	if killed(func() { _, _ = config.Catalog.Commit(t.Context(), tiers.Change{Put: []tiers.Put{{Key: "k"}}}) }) {
		t.Error("killed though it is spared")
	}
}

// Half of the body has gone when a process is killed in the middle of it, and no object is
// there.
func TestKillDuring(t *testing.T) {
	_, config := points(t, Plan{At: map[string]int{"s3.put@serve/during": 1}})
	b := config.Tiers[0].Bucket.(*bucket)
	if !killed(func() { _, _ = io.Copy(io.Discard, b.points.halfway("s3.put@serve", strings.NewReader("abcdef"), 6)) }) {
		t.Error("not killed while the body was read")
	}
}

// What is reported as lost was applied, was not, or is applied later.
func TestLost(t *testing.T) {
	_, config := points(t, Plan{Lose: 1})
	ctx, b := t.Context(), config.Tiers[0].Bucket
	for name, call := range map[string]func() error{
		"get":  func() error { _, err := config.Catalog.Get(ctx, "k"); return err },
		"list": func() error { _, err := config.Catalog.List(ctx, tiers.Query{Limit: 1}); return err },
		"commit": func() error {
			_, err := config.Catalog.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "k"}}})
			return err
		},
		"put":      func() error { return b.Put(ctx, "k", strings.NewReader("x"), 1) },
		"open":     func() error { _, err := b.Open(ctx, "k", 0, -1); return err },
		"stat":     func() error { _, err := b.Stat(ctx, "k"); return err },
		"delete":   func() error { return b.Delete(ctx, "k") },
		"objects":  func() error { _, err := b.List(ctx, "", "", 1); return err },
		"uploads":  func() error { _, err := b.Uploads(ctx, "", "", 1); return err },
		"begin":    func() error { _, err := b.Begin(ctx, "k"); return err },
		"part":     func() error { _, err := b.PutPart(ctx, "k", "u", 1, strings.NewReader("x"), 1); return err },
		"complete": func() error { return b.Complete(ctx, "k", "u", []tiers.Part{{Number: 1}}) },
		"abort":    func() error { return b.Abort(ctx, "k", "u") },
		"copy":     func() error { return b.CopyFrom(ctx, b, "k", "l", 1) },
	} {
		if err := call(); !errors.Is(err, oci.ErrUnavailable) {
			t.Errorf("%s: %v, want %v", name, err, oci.ErrUnavailable)
		}
	}
}

// A call that is late has been reported as lost when it is applied.
func TestLate(t *testing.T) {
	p, config := points(t, Plan{Late: 1, LateFor: time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	b := config.Tiers[0].Bucket
	if _, err := config.Catalog.Commit(ctx, tiers.Change{Put: []tiers.Put{{Key: "k"}}}); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("commit: %v", err)
	}
	if err := b.Put(ctx, "k", bytes.NewReader([]byte("late")), 4); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put: %v", err)
	}
	cancel() // the caller is gone
	if err := os.WriteFile(p.plan.Calm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3000 {
		records, err := config.Catalog.Get(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		info, err := b.Stat(t.Context(), "k")
		if err == nil && info.Size == 4 && records[0].Revision != 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("what was late is never applied")
}

// The points change nothing of what a bucket can do: copies between two of them, and reads
// by the short way.
func TestBucketStaysWhole(t *testing.T) {
	_, config := points(t, Plan{})
	b, ctx := config.Tiers[0].Bucket, t.Context()
	if err := b.Put(ctx, "k", strings.NewReader("content"), 7); err != nil {
		t.Fatal(err)
	}
	if !b.CanCopyFrom(b) {
		t.Error("it cannot copy from itself")
	}
	if err := b.CopyFrom(ctx, b, "k", "l", 7); err != nil {
		t.Error(err)
	}
	rc, err := b.Open(ctx, "l", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	direct, ok := rc.(tiers.Transferrer)
	if !ok {
		t.Fatalf("%T has no short way", rc)
	}
	var out bytes.Buffer
	if n, err := direct.TransferTo(&out, 7); err != nil || n != 7 || out.String() != "content" {
		t.Errorf("got %d bytes %q, %v", n, out.String(), err)
	}
}

func TestKind(t *testing.T) {
	for want, change := range map[string]tiers.Change{
		"committed":     {Put: []tiers.Put{{Key: "event/1"}, {Key: "promotion/1"}, {Key: "committed/1"}}},
		"-pinned":       {Delete: []string{"store/s/ref/sha256:0/.pin/1", "pinned/1/2"}},
		"manifest":      {Put: []tiers.Put{{Key: "store/s/blob/sha256:0"}, {Key: "tier/dev/manifest/a/b@sha256:0"}}},
		"blob":          {Put: []tiers.Put{{Key: "store/s/blob/sha256:0"}}, Delete: []string{"store/s/intent/blobs/1"}},
		"-intent":       {Delete: []string{"store/s/intent/blobs/1"}},
		"ledger-batch":  {Put: []tiers.Put{{Key: "ledger/promotion/1"}, {Key: "ledger/batch/1"}, {Key: "ledger/head"}}, Delete: []string{"event/1"}},
		"ledger-head":   {Put: []tiers.Put{{Key: "ledger/head"}}},
		"-ledger-batch": {Put: []tiers.Put{{Key: "ledger/head"}}, Delete: []string{"ledger/batch/1"}},
		"new-family":    {Put: []tiers.Put{{Key: "new-family/1"}}},
		"compare":       {If: []tiers.Condition{{Key: "k"}}},
	} {
		if got := kind(change); got != want {
			t.Errorf("%+v is %s, want %s", change, got, want)
		}
	}
}
