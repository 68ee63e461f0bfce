package trouble_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tests/stores"
)

// Whatever one member of three does, the leader too, nothing is refused for long, and it can
// come back or not.
func TestOneMemberGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	layer := random(100_000)
	s.pushImage("dev/acme/app", "v1", layer)
	for i, member := range s.members { // one of them leads, and another after it
		member.Kill()
		// No client waits for it: a write that was on its way to the leader may be refused.
		s.healed(201, "POST", uploadPath("dev/acme/app", []byte{byte(i)}), []byte{byte(i)})
		s.want(200, "GET", "/v2/dev/acme/app/manifests/v1", nil)
		if got := s.want(200, "GET", blobPath("dev/acme/app", layer), nil); digest.FromBytes(got.body) != digest.FromBytes(layer) {
			t.Error("other bytes")
		}
		s.want(200, "GET", "/readyz", nil)
		if err := member.Restart(); err != nil {
			t.Fatal(err)
		}
	}
}

// A member that stands still, as on a machine without memory, holds its connections open.
func TestOneMemberFrozen(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.pushImage("dev/acme/app", "v1", []byte("layer"))
	freeze(t, s.members[0])
	s.healed(201, "POST", uploadPath("dev/acme/app", []byte("other")), []byte("other"))
	s.healed(200, "GET", "/v2/dev/acme/app/manifests/v1", nil)
}

func freeze(t *testing.T, p *stores.Process) {
	t.Helper()
	if err := syscall.Kill(p.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}

// With two of three members gone nobody knows what is true: what needs to know is refused,
// from no cache, and what does not is answered. When they are back all is as before.
func TestMostMembersGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	layer := random(100_000)
	d := s.pushImage("dev/acme/app", "v1", layer)
	s.attest("acme/app", d)
	s.want(200, "GET", "/v2/dev/acme/app/manifests/v1", nil) // what could be in memory is
	s.want(200, "GET", "/v2/dev/acme/app/tags/list", nil)
	location := s.begin("dev/acme/app")
	s.want(202, "PATCH", location, []byte("first "))

	s.members[0].Kill()
	s.members[1].Kill()
	for _, path := range []string{"/healthz", "/metrics", "/v2/", "/api/v1/keys", "/api/v1/openapi.json"} {
		s.want(200, "GET", path, nil)
	}
	var asked sync.WaitGroup
	for _, ask := range []struct {
		method, path string
		body         []byte
	}{
		{"GET", "/readyz", nil},
		{"GET", "/v2/dev/acme/app/manifests/v1", nil},
		{"HEAD", "/v2/dev/acme/app/manifests/" + d.String(), nil},
		{"GET", "/v2/dev/acme/app/tags/list", nil},
		{"GET", "/v2/dev/acme/app/referrers/" + d.String(), nil},
		{"GET", blobPath("dev/acme/app", layer), nil},
		{"HEAD", blobPath("dev/acme/app", layer), nil},
		{"GET", "/v2/_catalog", nil},
		{"GET", "/api/v1/policies", nil},
		{"POST", uploadPath("dev/acme/app", []byte("new")), []byte("new")},
		{"PATCH", location, []byte("second")},
		{"PUT", "/v2/dev/acme/app/manifests/v2", image(layer)},
		{"DELETE", "/v2/dev/acme/app/manifests/v1", nil},
		{"POST", "/api/v1/promotions", promotion("v1")},
		{"POST", "/api/v1/evaluations", promotion("v1")},
	} {
		asked.Go(func() { s.wantUnavailable(ask.method, ask.path, ask.body, "Content-Type", contentType(ask.path)) })
	}
	asked.Wait()

	for _, member := range s.members[:2] { // the first is not ready without the second
		if err := member.Again(); err != nil {
			t.Fatal(err)
		}
	}
	s.healed(200, "GET", "/readyz", nil)
	s.healed(200, "GET", "/v2/dev/acme/app/manifests/v1", nil)
	s.healed(202, "PATCH", location, []byte("second")) // the upload goes on where it was
	whole := []byte("first second")
	s.healed(201, "PUT", location+"?digest="+digest.FromBytes(whole).String(), nil)
	s.want(200, "GET", blobPath("dev/acme/app", whole), nil)
	s.healed(201, "POST", "/api/v1/promotions", promotion("v1"), "Content-Type", "application/json")
	s.want(200, "GET", "/v2/stable/acme/app/manifests/v1", nil)
}

// A promotion that is under way while the cluster is gone is taken up when it is back, by
// whoever had begun it, and ends: done, or with the error that it met before the cluster was
// gone altogether, and then asking again does it.
func TestPromotionAcrossOutage(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	d := s.pushImage("dev/acme/app", "v1", []byte("layer"))
	s.attest("acme/app", d)
	s.s3.inject(func(http.ResponseWriter, *http.Request, http.Handler) bool {
		time.Sleep(200 * time.Millisecond) // so that it takes a while
		return false
	})
	started := s.want(202, "POST", "/api/v1/promotions", promotion("v1"), "Content-Type", "application/json", "Prefer", "respond-async")
	s.members[0].Kill()
	s.members[1].Kill()
	s.wantUnavailable("GET", started.header.Get("Location"), nil) // some seconds
	for _, member := range s.members[:2] {
		if err := member.Again(); err != nil {
			t.Fatal(err)
		}
	}
	s.healed(200, "GET", started.header.Get("Location"), nil)
	for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var p promote.Promotion
		if err := json.Unmarshal(s.do("GET", started.header.Get("Location"), nil).body, &p); err != nil {
			t.Fatal(err)
		}
		if p.State == promote.Errored {
			s.healed(201, "POST", "/api/v1/promotions", promotion("v1"), "Content-Type", "application/json")
			break
		}
		if p.State == promote.Succeeded {
			break
		}
		if p.State.Terminal() || time.Since(began) > heals {
			t.Fatalf("it is %s: %s", p.State, p.Error)
		}
	}
	s.want(200, "GET", "/v2/stable/acme/app/manifests/v1", nil)
}

// contentType is that of a body that a path takes.
func contentType(path string) string {
	if strings.HasPrefix(path, "/api/v1/") {
		return "application/json"
	}
	return typeImage
}

// What clients see while the leader changes, over and over: refusals of writes that were on
// their way to it, for a moment, and no wrong answer. Whatever was acknowledged is there.
func TestLeaderChanges(t *testing.T) {
	t.Parallel()
	s := newSite(t, 3)
	s.pushImage("dev/acme/app", "v0", []byte("layer"))
	stop := make(chan struct{})
	type seen struct {
		asked, refused int
		longest        time.Duration
		kept           [][]byte
	}
	results := make(chan seen, 4)
	for range cap(results) {
		go func() {
			var r seen
			defer func() { results <- r }()
			for {
				select {
				case <-stop:
					return
				default:
				}
				content := random(20)
				push := s.do("POST", uploadPath("dev/acme/app", content), content)
				pull := s.do("GET", "/v2/dev/acme/app/manifests/v0", nil)
				for _, got := range []reply{push, pull} {
					r.asked++
					r.longest = max(r.longest, got.took)
					if got.unavailable() {
						r.refused++
					} else if got.status != http.StatusCreated && got.status != http.StatusOK || got.err != nil {
						t.Errorf("%v", got)
					}
				}
				if push.status == http.StatusCreated {
					r.kept = append(r.kept, content)
				}
			}
		}()
	}
	for range 2 {
		for _, member := range s.members {
			member.Kill()
			time.Sleep(500 * time.Millisecond)
			if err := member.Restart(); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	for range cap(results) {
		r := <-results
		t.Logf("%d requests, %d refused, the longest took %v", r.asked, r.refused, r.longest.Round(time.Millisecond))
		if r.asked-r.refused == 0 {
			t.Error("nothing was answered")
		}
		for _, content := range r.kept {
			s.want(200, "HEAD", blobPath("dev/acme/app", content), nil)
		}
	}
}
