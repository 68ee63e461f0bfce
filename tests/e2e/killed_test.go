package e2e_test

import (
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/tests/clients"
	"sluice.dev/sluice/tests/stores"
)

// killedMiB is the size of the image whose promotion is cut off. SLUICE_TEST_KILLED_MIB
// changes it.
const killedMiB = "16"

// TestKilled kills the server at five points of a promotion, by what it has written to the
// catalog, and starts it again: the promotion is taken up and ends, once, and readers see
// nothing of it or all.
func TestKilled(t *testing.T) {
	etcd, _ := stores.StartEtcd(t)
	endpoint, access, secret := stores.StartS3(t)
	config, dir := external(t, etcd, endpoint, access, secret)
	client, err := clientv3.New(clientv3.Config{Endpoints: etcd, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, point := range []struct{ name, key string }{
		{"requested", "/promotion-open/"}, // the journal's index: accepted, not begun
		{"pinned", "/pinned/"},            // the closure is pinned
		{"copying", "/intent/blobs/"},     // an object of the tier above is announced
		{"staged", "/staged/"},            // manifests are in the tier above, hidden
		{"committed", "/committed/"},      // all is visible, the marks are not taken away yet
	} {
		t.Run(point.name, func(t *testing.T) {
			s := serve(t, dir, "--config", config)
			h := clients.New(t)
			repository := "killed/" + point.name
			ref := s.host + "/dev/" + repository + ":1.0"
			pushLarge(t, h, ref)
			for _, a := range attestations {
				s.run(0, "attest", ref, "--type", a.predicateType, "--predicate", h.File("p.json", now(a.predicate)), "--key", s.key())
			}
			id := s.cutOff(client, point.key, repository)
			before := s.reads(repository)
			started := time.Now()
			s.start()
			state, seen := s.settle(id, repository)
			t.Logf("MATRIX killed when %s: promotion %s, stable %v before the restart, %s %s after it", point.name, id, before, state, time.Since(started).Round(time.Millisecond))
			if state != "Succeeded" || !seen {
				t.Fatalf("the promotion is %s, stable has the image: %v", state, seen)
			}
			h.Run("oras", "pull", "--plain-http", "-o", "pulled", s.host+"/stable/"+repository+":1.0") // compares digests
			out := h.Run("oras", "discover", "--plain-http", "--format", "json", s.host+"/stable/"+repository+":1.0")
			if n := strings.Count(out, "verification_summary"); n != 1 {
				t.Errorf("stable has %d summaries, want 1\n%s", n, out)
			}
			s.noTraces(client)
		})
	}
}

// pushLarge pushes an image of random layers, which nothing compresses or deduplicates.
func pushLarge(t *testing.T, h *clients.Home, ref string) {
	t.Helper()
	size := os.Getenv("SLUICE_TEST_KILLED_MIB")
	if size == "" {
		size = killedMiB
	}
	var mib int64
	if err := json.Unmarshal([]byte(size), &mib); err != nil {
		t.Fatal(err)
	}
	args := []string{"push", "--plain-http", ref}
	for _, name := range []string{"a", "b", "c", "d"} {
		file, err := os.Create(filepath.Join(h.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(file, rand.Reader, mib<<20/4); err != nil {
			t.Fatal(err)
		}
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		args = append(args, name+":application/vnd.oci.image.layer.v1.tar")
	}
	h.Run("oras", args...)
}

// cutOff asks for a promotion and kills the server once a key that holds the given words
// is written for it. It returns the id of the promotion.
func (s *server) cutOff(client *clientv3.Client, key, repository string) string {
	s.Helper()
	// Keys of the promotion itself, and of no other: nothing else is going on.
	watch := client.Watch(s.Context(), "sluice/", clientv3.WithPrefix())
	answer := make(chan string, 1)
	go func() {
		req, err := http.NewRequest("POST", s.url+"/api/v1/promotions", strings.NewReader(
			`{"repository":"`+repository+`","reference":"1.0","from":"dev","to":"stable"}`))
		if err != nil {
			answer <- ""
			return
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		answer <- ""
	}()
	var id string
	deadline := time.After(time.Minute)
	for {
		select {
		case batch := <-watch:
			for _, event := range batch.Events {
				name := "/" + strings.TrimPrefix(string(event.Kv.Key), "sluice/v1/")
				if rest, ok := strings.CutPrefix(name, "/promotion-open/"); ok && event.Type == clientv3.EventTypePut {
					id = rest
				}
				if event.Type == clientv3.EventTypePut && strings.Contains(name, key) && id != "" {
					s.kill()
					<-answer
					return id
				}
			}
		case <-deadline:
			s.Fatalf("nothing like %s was written\n%s", key, s.log)
		}
	}
}

// reads says whether anything of the image can be seen above; the server must be up.
func (s *server) reads(repository string) string {
	if s.cmd == nil {
		return "down"
	}
	resp, err := http.Get(s.url + "/v2/stable/" + repository + "/manifests/1.0")
	if err != nil {
		return err.Error()
	}
	resp.Body.Close()
	return resp.Status
}

// settle waits until the promotion is terminal. While it is not, stable shows nothing.
func (s *server) settle(id, repository string) (state string, seen bool) {
	s.Helper()
	for range 600 {
		before := s.reads(repository)
		resp, err := http.Get(s.url + "/api/v1/promotions/" + id)
		if err != nil {
			s.Fatal(err)
		}
		var p struct{ State string }
		err = json.NewDecoder(resp.Body).Decode(&p)
		resp.Body.Close()
		if err != nil {
			s.Fatal(err)
		}
		if p.State != "Pending" && p.State != "Running" {
			return p.State, s.reads(repository) == "200 OK"
		}
		if before == "200 OK" {
			s.Fatalf("stable shows the image while promotion %s is %s", id, p.State)
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.Fatalf("promotion %s does not end\n%s", id, s.log)
	return "", false
}

// noTraces waits until nothing is left open, staged or pinned in the catalog.
func (s *server) noTraces(client *clientv3.Client) {
	s.Helper()
	var left []string
	for range 1200 { // a minute: the signs of life of the former owner have to expire first
		left = nil
		resp, err := client.Get(s.Context(), "sluice/v1/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err != nil {
			s.Fatal(err)
		}
		for _, kv := range resp.Kvs {
			for _, word := range []string{"/promotion-open/", "/staged/", "/committed/", "/pinned/", "/.pin/"} {
				if strings.Contains(string(kv.Key), word) {
					left = append(left, string(kv.Key))
				}
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.Errorf("left behind: %v", left)
}
