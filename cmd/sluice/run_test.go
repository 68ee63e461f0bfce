package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/tests/apispec"
	servers "sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers/runs"
)

// asReplica makes the test binary a server whose runs do what the files of a directory say:
// they wait until there is a file "go", and come to what is in "result".
const asReplica = "SLUICE_TEST_RUN_REPLICA"

// replica serves with the configuration in dir until it is told to stop.
func replica(dir string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	cfg, err := loadConfig(configSource{file: filepath.Join(dir, configName), listen: "127.0.0.1:0"})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	i := newInstance(cfg, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	i.jobs = func() map[runs.Kind]runs.Job {
		return map[runs.Kind]runs.Job{runs.Collection: {Work: scripted(dir)}, runs.Check: {Work: scripted(dir)}}
	}
	if i, err = start(ctx, i); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	fmt.Println("sluice is ready on " + i.url)
	if err := errors.Join(i.wait(ctx), i.close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitDone
}

// scripted is the work of such runs. figures are those of the kind.
func scripted(dir string) runs.Work {
	return func(ctx context.Context, run runs.Run, progress func(any)) (any, error) {
		for {
			progress(map[string]any{"phase": "blobs", "collected": map[string]any{"phase": "blobs"}})
			if _, err := os.Stat(filepath.Join(dir, "go")); !errors.Is(err, fs.ErrNotExist) {
				break
			}
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
		data, err := os.ReadFile(filepath.Join(dir, "result"))
		if err != nil {
			return nil, err
		}
		if run.Kind == runs.Collection {
			var c collection
			err := json.Unmarshal(data, &c)
			return c, err
		}
		var c checked
		err = json.Unmarshal(data, &c)
		return c, err
	}
}

// world is the directory of scripted replicas.
type world struct {
	*testing.T
	dir string
}

func newScripted(t *testing.T) *world {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	w := &world{t, t.TempDir()}
	write(t, w.dir, configName, "data: data\n")
	return w
}

func (w *world) result(v any) {
	w.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		w.Fatal(err)
	}
	write(w.T, w.dir, "result", string(data))
}

func (w *world) open() { write(w.T, w.dir, "go", "") }

func (w *world) shut() {
	w.Helper()
	if err := os.Remove(filepath.Join(w.dir, "go")); err != nil {
		w.Fatal(err)
	}
}

// serve starts a replica.
func (w *world) serve() (p *process, host string) {
	w.Helper()
	p = spawnAs(w.T, []string{asReplica + "=" + w.dir})
	return p, hostIn(w.T, p.until(w.T, readyText))
}

// begin begins a run and leaves it going on.
func (w *world) begin(verb, host string) runs.Run {
	w.Helper()
	out := expect(w.T, exitDone, `"state": "Running"`, verb, "--registry", host, "--detach", "-o", "json")
	var run runs.Run
	if err := json.Unmarshal([]byte(out), &run); err != nil {
		w.Fatal(err)
	}
	return run
}

// A run that goes on at one replica is seen, refused a second, and cancelled at another; when
// its owner is killed the other finds it interrupted and begins the next.
func TestRunsOverReplicas(t *testing.T) {
	w := newScripted(t)
	etcd, _ := servers.StartEtcd(t)
	endpoint, access, secret := servers.StartS3(t)
	s3 := fmt.Sprintf("{endpoint: %q, accessKeyFile: access, secretKeyFile: secret", endpoint)
	write(t, w.dir, "access", access)
	write(t, w.dir, "secret", secret)
	write(t, w.dir, configName, fmt.Sprintf("data: data\netcd: {endpoints: [%s]}\ntiers:\n  - {name: dev, push: true, s3: %s, bucket: run-dev}}\n  - {name: stable, from: dev, s3: %s, bucket: run-stable}}\n",
		strings.Join(etcd, ", "), s3, s3))
	w.result(collection{})
	one, a := w.serve()
	two, b := w.serve()

	run := w.begin("gc", a)
	expect(t, exitFailed, "follow it with: sluice gc show "+run.ID+" --follow --registry "+b, "gc", "--registry", b)
	expect(t, exitDone, "Running", "gc", "list", "--registry", b)
	expect(t, exitDone, "collection "+run.ID+" of anonymous is running since ", "gc", "show", run.ID, "--registry", b)
	check := w.begin("fsck", b) // of another kind
	if err := one.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	one.wait()
	expect(t, exitFailed, "did not come to its end: the server that carried it out is gone", "gc", "show", run.ID, "--follow", "--registry", b)
	expect(t, exitDone, "fsck cancel", "fsck", "--help")
	expect(t, exitDone, "was told to stop", "fsck", "cancel", check.ID, "--registry", b)
	expect(t, exitFailed, "anonymous cancelled it", "fsck", "show", check.ID, "--follow", "--registry", b)
	w.open()
	expect(t, exitDone, "collected in", "gc", "--registry", b)
	if out := expect(t, exitDone, "Interrupted", "gc", "list", "--registry", b); !strings.Contains(out, "Succeeded") || strings.Index(out, "Succeeded") > strings.Index(out, "Interrupted") {
		t.Errorf("the list is\n%s", out)
	}
	expect(t, exitFailed, "RUN_UNKNOWN", "gc", "show", check.ID, "--registry", b)
	expect(t, exitFailed, "nothing left to cancel", "fsck", "cancel", check.ID, "--registry", b)

	// One that is told to stop leaves a word of it.
	w.shut()
	run = w.begin("gc", b)
	if code := two.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &two.stderr)
	}
	_, c := w.serve()
	expect(t, exitFailed, "the server that carried it out stopped", "gc", "show", run.ID, "--registry", c)
}

// Ctrl-C ends the command and not the run.
func TestRunInterrupted(t *testing.T) {
	w := newScripted(t)
	w.result(collection{})
	_, host := w.serve()
	ctx, cancel := context.WithCancel(t.Context())
	var out, errOut bytes.Buffer
	code := make(chan int)
	go func() { code <- run(ctx, []string{"gc", "--registry", host}, strings.NewReader(""), &out, &errOut) }()
	var id string
	for deadline := time.Now().Add(time.Minute); id == ""; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not begin")
		}
		all, err := list[runs.Run](t.Context(), docker(t, host), "/api/v1/collections", "collections", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 0 {
			id = all[0].ID
		}
	}
	cancel()
	if got := <-code; got != exitFailed {
		t.Errorf("it ends with %d", got)
	}
	for _, want := range []string{"collection " + id + " goes on at the server", "sluice gc show " + id + " --registry " + host, "sluice gc cancel " + id + " --registry " + host} {
		if !strings.Contains(errOut.String(), want) {
			t.Errorf("it does not say %q: %s", want, &errOut)
		}
	}
	w.open()
	expect(t, exitDone, "collected in", "gc", "show", id, "--follow", "--registry", host)
}

// described holds what a server answers against the description of its API.
func described(t *testing.T, host, path string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := apispec.New(t).Wrap(t, nil).RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, response.Status)
	}
}

// newest is the id of the newest run.
func newest(t *testing.T, host, plural string) string {
	t.Helper()
	all, err := list[runs.Run](t.Context(), docker(t, host), "/api/v1/"+plural, plural, nil)
	if err != nil || len(all) == 0 {
		t.Fatalf("%d %s, %v", len(all), plural, err)
	}
	return all[0].ID
}

// The verbs against a server as it is.
func TestUpkeep(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := spawn(t, nil, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	pushSample(t, host)
	expect(t, exitDone, "✓", "gc", "--dry-run", "--registry", host)
	expect(t, exitDone, "collected in", "gc", "--registry", host)
	expect(t, exitDone, "✓ nothing is wrong", "fsck", "--registry", host)
	expect(t, exitDone, "✓ nothing is wrong", "fsck", "--read-data", "--repair", "--registry", host)
	expect(t, exitDone, "Succeeded", "fsck", "list", "--registry", host)
	for _, plural := range []string{"collections", "checks"} {
		described(t, host, "/api/v1/"+plural)
		described(t, host, "/api/v1/"+plural+"/"+newest(t, host, plural))
	}
	if code := server.stop(t); code != exitDone {
		t.Errorf("SIGTERM ends it with %d\n%s", code, &server.stderr)
	}
}

// A server begins collections by itself.
func TestCollectionsBeginByThemselves(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := spawn(t, []string{"SLUICE_GC_INTERVAL=1s"}, "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	host := hostIn(t, server.until(t, readyText))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		all, err := list[runs.Run](t.Context(), docker(t, host), "/api/v1/collections", "collections", nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 1 && all[1].Actor == runs.Scheduled && all[1].State == runs.Succeeded {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are %+v", all)
		}
	}
}
