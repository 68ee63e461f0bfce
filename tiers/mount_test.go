package tiers_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// mountAny mounts into a repository of its own and says whether it did, and what it asked
// permission for.
func (w *world) mountAny(name string, d digest.Digest, allow ...string) (ok bool, asked []string) {
	w.t.Helper()
	ok, err := w.repo("dev", name).MountAny(w.t.Context(), d, func(tier, repository string) bool {
		asked = append(asked, tier+"/"+repository)
		return slices.Contains(allow, tier+"/"+repository)
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.repo("dev", name).Blob(w.t.Context(), d); (err == nil) != ok {
		w.t.Errorf("%s: mounted %v, the blob: %v", name, ok, err)
	}
	return ok, asked
}

// A mount without a source finds the repository that stored the blob and those whose
// manifests need it, and none that the caller may not read.
func TestMountAny(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40)) // stored by dev/acme/app
	user := w.repo("dev", "acme/user")
	if ok, err := user.Mount(t.Context(), w.dev, blob.Digest); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for i := range 3 {
		w.manifest(user, "", image(blob, nil, fmt.Sprintf("application/x.%d", i)))
	}
	if ok, asked := w.mountAny("to/none", blob.Digest); ok || !slices.Equal(asked, []string{"dev/acme/app", "dev/acme/user"}) {
		t.Errorf("nothing allowed: %v, asked for %v", ok, asked)
	}
	if ok, asked := w.mountAny("to/origin", blob.Digest, "dev/acme/app"); !ok || len(asked) != 1 {
		t.Errorf("origin: %v, asked for %v", ok, asked)
	}
	if ok, _ := w.mountAny("to/user", blob.Digest, "dev/acme/user"); !ok {
		t.Error("a manifest's repository was not found")
	}
	if err := w.dev.DeleteBlob(t.Context(), blob.Digest); err != nil {
		t.Fatal(err)
	}
	if ok, _ := w.mountAny("to/gone", blob.Digest, "dev/acme/app"); ok {
		t.Error("mounted from a repository that no longer holds it")
	}
	if ok, asked := w.mountAny("to/unknown", digest.FromString("never pushed"), "dev/acme/app"); ok || len(asked) != 0 {
		t.Errorf("never pushed: %v, asked for %v", ok, asked)
	}
	w.audit(true)
}

// What a promotion has staged and not committed is no source: nobody can see it yet.
func TestMountAnySeesNoArrivals(t *testing.T) {
	w := newWorld(t, oneStore)
	blob := w.blob(w.dev, bytesOf(1, 40))
	body := image(blob, nil, "")
	desc := w.manifest(w.dev, "v1", body)
	arrival := w.stable.Arrival("p1")
	if err := arrival.Stage(t.Context(), tiers.Arriving{Descriptor: desc, Manifest: w.parse(body)}); err != nil {
		t.Fatal(err)
	}
	if ok, asked := w.mountAny("to/hidden", blob.Digest, "stable/acme/app"); ok || !slices.Contains(asked, "stable/acme/app") {
		t.Errorf("staged: %v, asked for %v", ok, asked)
	}
	var change tiers.Change
	arrival.Change(&change)
	if _, err := w.catalog.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if ok, _ := w.mountAny("to/seen", blob.Digest, "stable/acme/app"); !ok {
		t.Error("committed, and not found")
	}
}

// The search is bounded, and what is no repository does not use it up.
func TestMountAnyIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	blob := w.blob(w.dev, bytesOf(1, 40))
	prefix := "store/" + w.dev.Tier.Store() + "/ref/" + blob.Digest.String() + "/"
	var change tiers.Change
	for i := range 120 {
		change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("%s.pin/%03d", prefix, i)})
	}
	if _, err := w.catalog.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	change = tiers.Change{}
	for i := range 120 {
		change.Put = append(change.Put, tiers.Put{Key: fmt.Sprintf("%sdev/other/r%03d@%s", prefix, i, blob.Digest)})
	}
	if _, err := w.catalog.Commit(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	ok, asked := w.mountAny("to/x", blob.Digest)
	if ok || len(asked) != 101 || asked[0] != "dev/acme/app" || asked[1] != "dev/other/r000" || asked[100] != "dev/other/r099" {
		t.Errorf("mounted %v, asked for %d, %v, want the origin and the first 100", ok, len(asked), asked)
	}
}

// parse reads a manifest that the test has made.
func (w *world) parse(body []byte) *oci.Manifest {
	w.t.Helper()
	m, err := oci.ParseManifest("", body)
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}
