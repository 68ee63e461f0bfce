package embedded_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
	"sluice.dev/sluice/tiers/embedded"
	"sluice.dev/sluice/tiers/s3"
)

// disk records what is synced, and fails when it is told to.
type disk struct {
	mu     sync.Mutex
	synced map[string]int
	broken func(path string) bool
}

func (d *disk) sync(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.broken != nil && d.broken(path) {
		return errors.New("the disk is broken")
	}
	if _, err := os.Stat(path); err != nil {
		return err // what does not exist cannot be synced
	}
	d.synced[path]++
	return nil
}

// take returns the paths since the last call, in no order.
func (d *disk) take() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.synced
	d.synced = map[string]int{}
	return got
}

func startDisk(t *testing.T) (*disk, *s3.Store, string) {
	t.Helper()
	d, dir := &disk{synced: map[string]int{}}, t.TempDir()
	g, err := embedded.StartGateway(t.Context(), dir, d.sync)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	root := filepath.Join(dir, "objects")
	store := open(t, s3.Config{Endpoint: g.Endpoint, Bucket: "dev", AccessKey: g.AccessKey, SecretKey: g.SecretKey})
	d.expect(t, "make bucket", root, "dev")
	return d, store, root
}

// expect checks that a file and every directory from it to the root were synced.
func (d *disk) expect(t *testing.T, op, root, path string) {
	t.Helper()
	got := d.take()
	for p := filepath.Join(root, path); len(p) >= len(root); p = filepath.Dir(p) {
		if got[p] == 0 {
			t.Errorf("%s: %s was not synced; synced were %v", op, p, got)
		}
	}
}

// Everything that is acknowledged has been synced before.
func TestSynced(t *testing.T) {
	d, store, root := startDisk(t)
	ctx, body := t.Context(), bytes.Repeat([]byte("x"), tiers.PartMin)

	if err := store.Put(ctx, "blobs/sha256/ab/1", bytes.NewReader(body), tiers.PartMin); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "put", root, "dev/blobs/sha256/ab/1")

	if err := store.Put(ctx, "blobs/empty", strings.NewReader(""), 0); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "put nothing", root, "dev/blobs/empty")

	if err := store.CopyFrom(ctx, store, "blobs/sha256/ab/1", "blobs/copy/1", tiers.PartMin); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "copy", root, "dev/blobs/copy/1")

	const key = "blobs/multipart/1"
	id, err := store.Begin(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	upload := filepath.Join("dev", embedded.UploadDir(key, id))
	d.expect(t, "begin", root, upload)
	var parts []tiers.Part
	for _, number := range []int{3, 7} {
		part, err := store.PutPart(ctx, key, id, number, bytes.NewReader(body), tiers.PartMin)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
		d.expect(t, "part", root, filepath.Join(upload, fmt.Sprint(number)))
	}
	if err := store.Complete(ctx, key, id, parts); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "complete", root, "dev/"+key)

	if _, err := store.Identity(ctx); err != nil {
		t.Fatal(err)
	}
	d.expect(t, "identity", root, "dev/sluice-identity")
}

// What could not be synced, file or directory, is not acknowledged.
func TestSyncFails(t *testing.T) {
	for name, broken := range map[string]func(root, path string) bool{
		"file":      func(_, path string) bool { info, err := os.Stat(path); return err == nil && !info.IsDir() },
		"directory": func(root, path string) bool { return path == filepath.Join(root, "dev") },
	} {
		t.Run(name, func(t *testing.T) { testSyncFails(t, broken) })
	}
}

func testSyncFails(t *testing.T, broken func(root, path string) bool) {
	d, store, root := startDisk(t)
	ctx, body := t.Context(), bytes.Repeat([]byte("x"), 100_000)
	if err := store.Put(ctx, "blobs/source", bytes.NewReader(body), int64(len(body))); err != nil {
		t.Fatal(err)
	}
	id, err := store.Begin(ctx, "blobs/parts")
	if err != nil {
		t.Fatal(err)
	}
	part, err := store.PutPart(ctx, "blobs/parts", id, 1, bytes.NewReader(body), int64(len(body)))
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	d.broken = func(path string) bool { return broken(root, path) }
	d.mu.Unlock()
	put := func() error { return store.Put(ctx, "blobs/new", bytes.NewReader(body), int64(len(body))) }
	for op, call := range map[string]func() error{
		"put":  put,
		"copy": func() error { return store.CopyFrom(ctx, store, "blobs/source", "blobs/copy", int64(len(body))) },
		"part": func() error {
			_, err := store.PutPart(ctx, "blobs/parts", id, 2, bytes.NewReader(body), int64(len(body)))
			return err
		},
		"complete": func() error { return store.Complete(ctx, "blobs/parts", id, []tiers.Part{part}) },
	} {
		if err := call(); err == nil {
			t.Errorf("%s was acknowledged", op)
		}
	}
	// Nothing is broken any more, but what the kernel forgot is unknown.
	d.mu.Lock()
	d.broken = nil
	d.mu.Unlock()
	if err := put(); !errors.Is(err, oci.ErrUnavailable) {
		t.Errorf("put after a failure: %v, want %v", err, oci.ErrUnavailable)
	}
}

// A client that vanishes leaves no object: the storage alone would keep what had come.
func TestBrokenBody(t *testing.T) {
	d, store, root := startDisk(t)
	gone := errors.New("gone")
	r := io.MultiReader(bytes.NewReader(make([]byte, 300_000)), readerFunc(func([]byte) (int, error) { return 0, gone }))
	if err := store.Put(t.Context(), "blobs/short", r, 1<<20); !errors.Is(err, gone) {
		t.Errorf("put: %v, want %v", err, gone)
	}
	if got := d.take(); got[filepath.Join(root, "dev/blobs/short")] != 0 {
		t.Error("a broken object was stored")
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A server that is killed while it completes an upload leaves the upload under another
// name, which it never looks at again. The parts were acknowledged.
func TestInterruptedComplete(t *testing.T) {
	dir := t.TempDir()
	g, err := embedded.StartGateway(t.Context(), dir, embedded.SyncPath)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s3.Config{Endpoint: g.Endpoint, Bucket: "dev", AccessKey: g.AccessKey, SecretKey: g.SecretKey}
	store := open(t, cfg)
	const key = "blobs/1"
	id, err := store.Begin(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	part, err := store.PutPart(t.Context(), key, id, 1, strings.NewReader("part"), 4)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	upload := filepath.Join(dir, "objects", "dev", embedded.UploadDir(key, id))
	if err := os.Rename(upload, upload+".0123-1.inprogress"); err != nil {
		t.Fatal(err)
	}
	if g, err = embedded.StartGateway(t.Context(), dir, embedded.SyncPath); err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	cfg.Endpoint = g.Endpoint
	store = open(t, cfg)
	if err := store.Complete(t.Context(), key, id, []tiers.Part{part}); err != nil {
		t.Fatal(err)
	}
	if info, err := store.Stat(t.Context(), key); err != nil || info.Size != 4 {
		t.Errorf("%+v, %v", info, err)
	}
}
