package trouble_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// refuse answers as a server that has too much to do, or is broken.
func refuse(status int, code string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>m</Message></Error>`, code)
		return true
	}
}

// reset closes the connection with nothing said.
func reset(http.ResponseWriter, *http.Request, http.Handler) bool { panic(http.ErrAbortHandler) }

// lost has the server do what it was asked, and then closes the connection.
func lost(_ http.ResponseWriter, r *http.Request, next http.Handler) bool {
	next.ServeHTTP(httptest.NewRecorder(), r)
	panic(http.ErrAbortHandler)
}

// only has a fault in requests of a method alone.
func only(method string, f fault) fault {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		return r.Method == method && f(w, r, next)
	}
}

// changed answers a GET with what edit makes of the answer: its head and its body.
func changed(edit func(w http.ResponseWriter, status int, body []byte)) fault {
	return only(http.MethodGet, func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		edit(w, answer.Code, answer.Body.Bytes())
		return true
	})
}

// cut sends half of an answer and closes the connection.
func cut(w http.ResponseWriter, status int, body []byte) {
	w.WriteHeader(status)
	_, _ = w.Write(body[:len(body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// short says that the object is shorter than it is, which is a whole answer.
func short(w http.ResponseWriter, status int, body []byte) {
	n := len(body) - 1
	w.Header().Set("Content-Length", strconv.Itoa(n))
	if from, _, ok := strings.Cut(strings.TrimPrefix(w.Header().Get("Content-Range"), "bytes "), "-"); ok {
		first, _ := strconv.Atoi(from) // 0 in these tests, or a number
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first+n-1, first+n))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body[:n])
}

// garbage is another answer than the one asked for, with a good status.
func garbage(w http.ResponseWriter, status int, _ []byte) {
	w.Header().Set("Content-Length", "7")
	w.WriteHeader(status)
	_, _ = w.Write([]byte("<html/>"))
}

// flipped changes a bit.
func flipped(w http.ResponseWriter, status int, body []byte) {
	body = bytes.Clone(body)
	if len(body) > 0 {
		body[len(body)/2] ^= 1
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// Whatever S3 answers to a read, no client gets a good status with another body than it asked
// for, but for wrong bytes of the right length, which every client compares with the digest.
// A manifest is never wrong. Nothing has to be started again.
func TestPullTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	layer := random(3 << 20)
	d := s.pushImage("dev/acme/app", "v1", layer)
	path := blobPath("dev/acme/app", layer)
	manifest := "/v2/dev/acme/app/manifests/" + d.String()
	for name, f := range map[string]fault{
		"503": refuse(503, "SlowDown"), "500": refuse(500, "InternalError"), "403": refuse(403, "AccessDenied"), "404": refuse(404, "NoSuchKey"),
		"reset": reset, "cut": changed(cut), "short": changed(short), "garbage": changed(garbage), "flipped": changed(flipped),
		"an error with 200": changed(func(w http.ResponseWriter, _ int, _ []byte) {
			refuse(200, "InternalError")(w, &http.Request{Body: http.NoBody}, nil)
		}),
	} {
		s.registry.Forget() // what was pushed is in memory
		s.s3.inject(f)
		s.s3.count()
		answers := s.together(map[string]func() reply{
			"whole":    func() reply { return s.do("GET", path, nil) },
			"range":    func() reply { return s.do("GET", path, nil, "Range", "bytes=100-2000000") },
			"manifest": func() reply { return s.do("GET", manifest, nil) },
		})
		if got := answers["manifest"]; got.status < 500 || got.err != nil {
			t.Errorf("%s: manifest: %v", name, got)
		}
		for _, what := range []string{"whole", "range"} {
			got, want := answers[what], layer
			if what == "range" {
				want = layer[100:2000001]
			}
			complete := got.err == nil && (got.status == 200 || got.status == 206)
			switch {
			case complete && name == "flipped" && len(got.body) == len(want):
			case complete:
				t.Errorf("%s, %s: %d bytes with status %d", name, what, len(got.body), got.status)
			case got.err == nil && got.status != 500 && !got.unavailable(), got.header.Get("Content-Range") != "" && got.status != 206:
				t.Errorf("%s, %s: %v %v", name, what, got, got.header)
			}
		}
		// One way to ask and three tries of another, each of which net/http repeats where a
		// connection that it had kept is gone.
		if n := s.s3.count(); n > 3*(1+2*3) {
			t.Errorf("%s: three pulls asked S3 %d times", name, n)
		}
		// Sizes are known without S3.
		for _, head := range []string{path, manifest} {
			if got := s.want(200, "HEAD", head, nil); got.header.Get("Content-Length") == "" {
				t.Errorf("%s: %v", name, got.header)
			}
		}
		s.s3.inject(nil)
		if got := s.want(200, "GET", manifest, nil); digest.FromBytes(got.body) != d {
			t.Errorf("%s: another manifest afterwards", name)
		}
		if got := s.want(200, "GET", path, nil); !bytes.Equal(got.body, layer) {
			t.Errorf("%s: another blob afterwards", name)
		}
	}
}

// An S3 server that is gone takes with it what needs its bytes, and brings it back.
func TestServerGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	layer := random(100_000)
	d := s.pushImage("dev/acme/app", "v1", layer)
	s.objects.Kill()
	s.wantUnavailable("GET", "/readyz", nil)
	s.wantUnavailable("GET", blobPath("dev/acme/app", layer), nil)
	s.wantUnavailable("GET", blobPath("dev/acme/app", layer), nil, "Range", "bytes=10-20")
	s.wantUnavailable("POST", uploadPath("dev/acme/app", []byte("new")), []byte("new"))
	s.want(200, "GET", "/healthz", nil)
	s.want(200, "HEAD", blobPath("dev/acme/app", layer), nil)
	s.want(200, "GET", "/v2/dev/acme/app/manifests/"+d.String(), nil) // from memory; that it is there is known
	s.want(200, "GET", "/v2/dev/acme/app/tags/list", nil)
	s.want(200, "GET", "/v2/dev/acme/app/referrers/"+d.String(), nil)
	if err := s.objects.Restart(); err != nil {
		t.Fatal(err)
	}
	s.healed(200, "GET", "/readyz", nil)
	s.healed(206, "GET", blobPath("dev/acme/app", layer), nil, "Range", "bytes=10-20")
	s.healed(201, "POST", uploadPath("dev/acme/app", []byte("new")), []byte("new"))
}

// Whatever becomes of a write on its way, what was acknowledged is there, what was not can be
// sent again, and S3 is not asked without end.
func TestPushTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	emptied := func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool { // a proxy that answers by itself
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(200)
		return true
	}
	for name, f := range map[string]fault{
		"503": refuse(503, "SlowDown"), "500": refuse(500, "InternalError"), "reset": reset, "lost": lost,
		"an error with 200": refuse(200, "InternalError"), "nothing with 200": emptied,
		"lost put": only("PUT", lost), "lost completion": only("POST", lost),
		"a failed completion with 200": only("POST", refuse(200, "InternalError")),
	} {
		small, large, parts := random(1000), random(2<<20), random(6<<20)
		location := s.begin("dev/acme/app")
		s.want(202, "PATCH", location, parts[:5<<20])
		s.s3.inject(f)
		s.s3.count()
		uploads := map[string]func() reply{
			"small": func() reply { return s.do("POST", uploadPath("dev/acme/app", small), small) },
			"large": func() reply { return s.do("POST", uploadPath("dev/acme/app", large), large) },
			"parts": func() reply {
				return s.do("PUT", location+"?digest="+digest.FromBytes(parts).String(), parts[5<<20:])
			},
		}
		answers := s.together(uploads)
		if n := s.s3.count(); n > 30 {
			t.Errorf("%s: three uploads asked S3 %d times", name, n)
		}
		s.s3.inject(nil)
		// The client asks how far it has come, and goes on from there.
		uploads["parts"] = func() reply {
			return s.do("PUT", location+"?digest="+digest.FromBytes(parts).String(), parts[s.offset(location):])
		}
		for what, content := range map[string][]byte{"small": small, "large": large, "parts": parts} {
			got := answers[what]
			if got.status != 201 && !got.unavailable() {
				t.Errorf("%s, %s: %v", name, what, got)
			}
			if got.status != 201 {
				if got := uploads[what](); got.status != 201 {
					t.Errorf("%s, %s again: %v", name, what, got)
				}
			}
			if got := s.want(200, "GET", blobPath("dev/acme/app", content), nil); !bytes.Equal(got.body, content) {
				t.Errorf("%s, %s: other bytes", name, what)
			}
		}
	}
}

// together sends requests at once.
func (s *site) together(requests map[string]func() reply) map[string]reply {
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]reply{}
	for name, request := range requests {
		group.Go(func() {
			got := request()
			mu.Lock()
			defer mu.Unlock()
			answers[name] = got
		})
	}
	group.Wait()
	return answers
}

// offset is how far an upload has come.
func (s *site) offset(location string) int {
	s.Helper()
	got := s.want(204, "GET", location, nil)
	_, last, _ := strings.Cut(got.header.Get("Range"), "-")
	n, err := strconv.Atoi(last)
	if err != nil {
		s.Fatalf("%v", got.header)
	}
	return n + 1
}

// No promotion brings what S3 gives wrong, none succeeds on less than it would have seen, and
// asked again it goes through.
func TestPromotionTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	for name, f := range map[string]fault{
		"503": refuse(503, "SlowDown"), "reset": reset, "flipped": changed(flipped), "short": changed(short), "cut": changed(cut), "404": only("GET", refuse(404, "NoSuchKey")),
		"a failed copy with 200": only("PUT", refuse(200, "InternalError")), "a lost copy": only("PUT", lost),
	} {
		tag := strings.ReplaceAll(name, " ", "-")
		d := s.pushImage("dev/acme/app", tag, random(1000))
		s.attest("acme/app", d)
		s.registry.Forget()
		s.s3.inject(f)
		got := s.do("POST", "/api/v1/promotions", promotion(tag), "Content-Type", "application/json")
		s.s3.inject(nil)
		if got.status != 201 && got.status != 503 {
			t.Errorf("%s: %v", name, got)
		}
		if got.status != 201 {
			s.want(404, "GET", "/v2/stable/acme/app/manifests/"+tag, nil)
			s.healed(201, "POST", "/api/v1/promotions", promotion(tag), "Content-Type", "application/json")
		}
		if got := s.want(200, "GET", "/v2/stable/acme/app/manifests/"+tag, nil); digest.FromBytes(got.body) != d {
			t.Errorf("%s: another manifest", name)
		}
	}
}

// A store that hangs while many ask: some wait for it, the rest is told so at once, what needs
// no S3 is answered, and what it takes of this process stays within bounds.
func TestHangingStore(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	layer := random(100_000)
	d := s.pushImage("dev/acme/app", "v1", layer)
	release := make(chan struct{})
	s.s3.inject(func(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return false
	})
	const clients = 2000
	results := make(chan reply, clients)
	for range clients {
		go func() { results <- s.do("GET", blobPath("dev/acme/app", layer), nil) }()
	}
	var refused int
	for range clients / 4 { // those whom nobody keeps waiting
		if got := <-results; got.unavailable() {
			refused++
		} else {
			t.Errorf("%v", got)
		}
	}
	s.want(200, "GET", "/v2/dev/acme/app/manifests/"+d.String(), nil) // which is in memory
	s.want(200, "HEAD", blobPath("dev/acme/app", layer), nil)
	s.want(200, "GET", "/v2/dev/acme/app/tags/list", nil)
	s.want(200, "GET", "/healthz", nil)
	if n := s.s3.count(); n > 300+100 {
		t.Errorf("S3 was asked %d times", n)
	}
	close(release)
	answered := 0
	for range clients - clients/4 {
		switch got := <-results; {
		case got.status == 200 && bytes.Equal(got.body, layer):
			answered++
		case got.unavailable():
			refused++
		default:
			t.Errorf("%v", got)
		}
	}
	t.Logf("%d answered, %d refused", answered, refused)
	if answered == 0 {
		t.Error("nobody who waited got anything")
	}
	s.want(200, "GET", blobPath("dev/acme/app", layer), nil)
}

// A store that is slow makes clients wait, and nothing fails for it.
func TestSlowStore(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1)
	s.s3.inject(func(http.ResponseWriter, *http.Request, http.Handler) bool {
		time.Sleep(200 * time.Millisecond)
		return false
	})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			content := random(100_000)
			s.want(201, "POST", uploadPath("dev/acme/app", content), content)
			if got := s.want(200, "GET", blobPath("dev/acme/app", content), nil); !bytes.Equal(got.body, content) {
				t.Error("other bytes")
			}
		})
	}
	group.Wait()
}
