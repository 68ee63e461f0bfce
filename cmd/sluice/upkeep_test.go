package main

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"sluice.dev/sluice/tiers/runs"
)

// largest finds the largest object of a bucket of the embedded store.
func largest(t *testing.T, data, bucket string) (path string, size int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(data, "objects", bucket, "blobs"), func(at string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Size() > size {
			path, size = at, info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return path, size
}

// Garbage goes, by hand and by itself, and what is broken is found: all of it with the verbs
// of the command, against a server as it is.
func TestGarbageGoesAndFaultsAreFound(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	data := t.TempDir()
	write(t, data, configName, "data: .\ngc: {interval: 0s, promise: 1s, drain: 1s, uploads: 1s}\n")
	server := spawn(t, nil, "serve", "--data", data, "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	ref := docker(t, host)
	repo, err := ref.repository("dev/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	desc, err := repo.Resolve(t.Context(), "1.0")
	if err != nil {
		t.Fatal(err)
	}
	expect(t, exitDone, "✓ nothing is wrong", "fsck", "--read-data", "--registry", host)
	file, _ := largest(t, data, "sluice-dev")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := append([]byte{whole[0] ^ 1}, whole[1:]...)
	if err := os.WriteFile(file, broken, 0o600); err != nil { // in place: what the store knows of it stays
		t.Fatal(err)
	}
	expect(t, exitFailed, "object-corrupt", "fsck", "--read-data", "--registry", host)
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, exitDone, "✓ nothing is wrong", "fsck", "--read-data", "--registry", host)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+host+"/v2/dev/acme/app/manifests/"+desc.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusAccepted {
		t.Fatalf("%v, %v", response, err)
	}
	response.Body.Close()
	freed := int64(0)
	for deadline := time.Now().Add(time.Minute); freed == 0; time.Sleep(500 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing is freed")
		}
		var run runs.Run
		if err := json.Unmarshal([]byte(expect(t, exitDone, "", "gc", "--registry", host, "-o", "json")), &run); err != nil {
			t.Fatal(err)
		}
		freed = run.Figures["freedBytes"]
		described(t, host, "/api/v1/collections/"+run.ID)
	}
	expect(t, exitDone, "✓ nothing is wrong", "fsck", "--read-data", "--registry", host)
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
}
