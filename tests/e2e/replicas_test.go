package e2e_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	clientv3 "go.etcd.io/etcd/client/v3"

	"sluice.dev/sluice/tests/clients"
	"sluice.dev/sluice/tests/stores"
)

// fleet are replicas over one etcd and one S3 server. Requests go to each in turn, as a
// balancer without sticky sessions sends them.
type fleet struct {
	*testing.T
	servers []*server
	started []*server // as they were started, by whom they are stopped
	turn    atomic.Int64
}

// serveFleet starts three replicas.
func serveFleet(t *testing.T) (f *fleet, etcd *clientv3.Client) {
	t.Helper()
	endpoints, _ := stores.StartEtcd(t)
	endpoint, access, secret := stores.StartS3(t)
	config, dir := external(t, endpoints, endpoint, access, secret)
	f = &fleet{T: t}
	for range 3 {
		f.servers = append(f.servers, serve(t, dir, "--config", config))
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { etcd.Close() })
	return f, etcd
}

// next is the replica whose turn it is.
func (f *fleet) next() *server { return f.servers[int(f.turn.Add(1))%len(f.servers)] }

// in runs a part of the test on the same replicas.
func (f *fleet) in(name string, part func(f *fleet)) {
	f.Run(name, func(t *testing.T) {
		own := &fleet{T: t, started: f.servers}
		for _, s := range f.servers {
			one := *s
			one.T = t
			own.servers = append(own.servers, &one)
		}
		part(own)
	})
}

// answer is what a replica answered.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask sends a request to one replica. A path that a replica answered may name no host: the
// next replica is asked for it.
func (s *server) ask(method, path string, body []byte, header ...string) answer {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// want is ask with the status that is owed.
func (s *server) want(status int, method, path string, body []byte, header ...string) answer {
	s.Helper()
	a := s.ask(method, path, body, header...)
	if a.status != status {
		s.Fatalf("%s %s: %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

// everywhere has all replicas answer the same.
func (f *fleet) everywhere(status int, path string, check func(a answer) string) {
	f.Helper()
	for i, s := range f.servers {
		a := s.ask("GET", path, nil)
		problem := ""
		if a.status == status && check != nil {
			problem = check(a)
		}
		if a.status != status || problem != "" {
			f.Fatalf("replica %d: GET %s: %d, want %d: %s %.300s", i, path, a.status, status, problem, a.body)
		}
	}
}

// location is where to go on with an upload, on whatever replica.
func location(a answer) string {
	path := a.header.Get("Location")
	if _, rest, ok := strings.Cut(path, "://"); ok {
		_, path, _ = strings.Cut(rest, "/")
		path = "/" + path
	}
	return path
}

// with adds a parameter to a location.
func with(path, parameter string) string {
	separator := "?"
	if strings.Contains(path, "?") {
		separator = "&"
	}
	return path + separator + parameter
}

func random(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	return data
}

// blob pushes a blob, each request to the next replica.
func (f *fleet) blob(repository string, data []byte) ocispec.Descriptor {
	f.Helper()
	d := digest.FromBytes(data)
	begun := f.next().want(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil)
	f.next().want(201, "PUT", with(location(begun), "digest="+d.String()), data, "Content-Type", "application/octet-stream")
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(len(data))}
}

// image makes a manifest of new blobs.
func (f *fleet) image(repository string) []byte {
	f.Helper()
	body, err := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: f.blob(repository, random(f.T, 20)), Layers: []ocispec.Descriptor{f.blob(repository, random(f.T, 100))}})
	if err != nil {
		f.Fatal(err)
	}
	return body
}

func (s *server) put(repository, reference string, body []byte) {
	s.Helper()
	s.want(201, "PUT", "/v2/"+repository+"/manifests/"+reference, body, "Content-Type", ocispec.MediaTypeImageManifest)
}

// TestReplicas has three replicas behind a balancer that knows of no sessions: what one has
// acknowledged, all know at once.
func TestReplicas(t *testing.T) {
	f, etcd := serveFleet(t)
	f.in("an upload in turn", (*fleet).uploads)
	f.in("tags", (*fleet).tags)
	f.in("listings", (*fleet).listings)
	f.in("deletes", (*fleet).deletes)
	f.in("mounts", (*fleet).mounts)
	f.in("policies", (*fleet).policies)
	f.in("promotions", (*fleet).promotions)
	f.in("a replica dies", func(f *fleet) { f.dies(etcd) })
}

// uploads begins uploads on one replica, goes on with them on the others, and ends them
// elsewhere.
func (f *fleet) uploads() {
	const repository = "dev/fleet/uploads"
	for name, sizes := range map[string][]int{"small": {10, 20, 30, 40}, "parts": {6 << 20, 1 << 20, 5<<20 + 1, 100}} {
		begun := f.next().want(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil)
		path, sent := location(begun), []byte{}
		for _, size := range sizes {
			chunk := random(f.T, size)
			a := f.next().want(202, "PATCH", path, chunk, "Content-Type", "application/octet-stream",
				"Content-Range", fmt.Sprintf("%d-%d", len(sent), len(sent)+len(chunk)-1))
			path, sent = location(a), append(sent, chunk...)
			status := f.next().want(204, "GET", path, nil)
			if got, want := status.header.Get("Range"), fmt.Sprintf("0-%d", len(sent)-1); got != want {
				f.Fatalf("%s: another replica says %q, want %q", name, got, want)
			}
		}
		// A chunk that was sent already, to whatever replica, is refused everywhere.
		f.next().want(416, "PATCH", path, []byte("x"), "Content-Type", "application/octet-stream", "Content-Range", "0-0")
		d := digest.FromBytes(sent)
		for range f.servers { // the second and third repeat what was answered
			f.next().want(201, "PUT", with(path, "digest="+d.String()), nil)
		}
		f.everywhere(200, "/v2/"+repository+"/blobs/"+d.String(), func(a answer) string {
			if digest.FromBytes(a.body) != d {
				return "other bytes"
			}
			return ""
		})
	}
	// Cancelled on one, it is over on all.
	path := location(f.next().want(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil))
	path = location(f.next().want(202, "PATCH", path, []byte("some"), "Content-Type", "application/octet-stream"))
	f.next().want(204, "DELETE", path, nil)
	for _, s := range f.servers {
		s.want(404, "PATCH", path, []byte("more"), "Content-Type", "application/octet-stream")
		s.want(404, "GET", path, nil)
	}
	// Nobody else's repository can go on with it.
	path = location(f.next().want(202, "POST", "/v2/"+repository+"/blobs/uploads/", nil))
	f.next().want(404, "PATCH", strings.Replace(path, "uploads/", "other/", 1), []byte("x"), "Content-Type", "application/octet-stream")
}

// tags moves a tag through one replica and reads it through all.
func (f *fleet) tags() {
	const repository = "dev/fleet/tags"
	var bodies [][]byte
	for range 4 {
		bodies = append(bodies, f.image(repository))
	}
	for i := range 60 {
		body := bodies[i%len(bodies)]
		f.next().put(repository, "moving", body)
		f.everywhere(200, "/v2/"+repository+"/manifests/moving", func(a answer) string {
			if got, want := a.header.Get("Docker-Content-Digest"), digest.FromBytes(body).String(); got != want || !bytes.Equal(a.body, body) {
				return "the tag is " + got + ", want " + want
			}
			return ""
		})
	}
}

// listings reads what each replica may keep in memory, changes it through one, and reads
// it again through all.
func (f *fleet) listings() {
	const repository = "dev/fleet/listings"
	subject := f.image(repository)
	f.next().put(repository, "first", subject)
	d := digest.FromBytes(subject)
	want := []string{"first"}
	for i := range 10 {
		tag := fmt.Sprintf("t%d", i)
		f.next().put(repository, tag, f.image(repository))
		want = append(want, tag)
		f.everywhere(200, "/v2/"+repository+"/tags/list", func(a answer) string {
			var list struct{ Tags []string }
			if err := json.Unmarshal(a.body, &list); err != nil || !slices.Equal(list.Tags, want) {
				return fmt.Sprintf("tags %v, want %v, %v", list.Tags, want, err)
			}
			return ""
		})
		referrer, err := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
			ArtifactType: "application/vnd.example.note", Config: f.blob(repository, fmt.Appendf(nil, "{\"n\":%d}", i)), Layers: []ocispec.Descriptor{f.blob(repository, []byte("note"))},
			Subject: &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(subject))}})
		if err != nil {
			f.Fatal(err)
		}
		f.next().put(repository, digest.FromBytes(referrer).String(), referrer)
		f.everywhere(200, "/v2/"+repository+"/referrers/"+d.String(), func(a answer) string {
			var index ocispec.Index
			if err := json.Unmarshal(a.body, &index); err != nil || len(index.Manifests) != i+1 {
				return fmt.Sprintf("%d referrers, want %d, %v", len(index.Manifests), i+1, err)
			}
			return ""
		})
	}
}

// deletes takes away through one replica what all have read, and may hold the bytes of.
func (f *fleet) deletes() {
	const repository = "dev/fleet/deletes"
	for range 10 {
		body := f.image(repository)
		path := "/v2/" + repository + "/manifests/" + digest.FromBytes(body).String()
		var m ocispec.Manifest
		if err := json.Unmarshal(body, &m); err != nil {
			f.Fatal(err)
		}
		blob := "/v2/" + repository + "/blobs/" + m.Layers[0].Digest.String()
		f.next().put(repository, "gone", body)
		f.everywhere(200, path, nil)
		f.everywhere(200, blob, nil)
		f.next().want(202, "DELETE", path, nil)
		f.everywhere(404, path, nil)
		f.everywhere(404, "/v2/"+repository+"/manifests/gone", nil)
		f.everywhere(200, "/v2/"+repository+"/tags/list", func(a answer) string {
			if bytes.Contains(a.body, []byte("gone")) {
				return "the tag is listed"
			}
			return ""
		})
		f.next().want(202, "DELETE", blob, nil)
		f.everywhere(404, blob, nil)
	}
}

// mounts gives a repository what another replica has taken into another repository.
func (f *fleet) mounts() {
	desc := f.blob("dev/fleet/from", random(f.T, 50))
	f.next().want(201, "POST", "/v2/dev/fleet/to/blobs/uploads/?mount="+desc.Digest.String()+"&from=dev/fleet/from", nil)
	f.everywhere(200, "/v2/dev/fleet/to/blobs/"+desc.Digest.String(), nil)
	f.everywhere(404, "/v2/dev/fleet/another/blobs/"+desc.Digest.String(), nil)
}

// policies puts a policy in force through one replica; all decide by it from then on.
func (f *fleet) policies() {
	const repository = "fleet/policies"
	f.next().put("dev/"+repository, "1.0", f.image("dev/"+repository))
	request := []byte(`{"repository":"` + repository + `","reference":"1.0","from":"dev","to":"stable"}`)
	found := f.next().want(200, "GET", "/api/v1/policies/dev-to-stable", nil).body
	var info struct{ Document, Digest string }
	for i := range 4 {
		if err := json.Unmarshal(found, &info); err != nil {
			f.Fatal(err)
		}
		changed := strings.Replace(info.Document, `"repositories": [`, fmt.Sprintf(`"repositories": ["none-%d/**",`, i), 1)
		if changed == info.Document {
			f.Fatalf("there are no repositories in %s", info.Document)
		}
		put := f.next().want(200, "PUT", "/api/v1/policies/dev-to-stable", []byte(changed), "Content-Type", "application/yaml", "If-Match", "*")
		if err := json.Unmarshal(put.body, &info); err != nil {
			f.Fatal(err)
		}
		for j, s := range f.servers {
			var verdict struct{ Policy struct{ Digest string } }
			a := s.want(200, "POST", "/api/v1/evaluations", request, "Content-Type", "application/json")
			if err := json.Unmarshal(a.body, &verdict); err != nil || verdict.Policy.Digest != info.Digest {
				f.Fatalf("replica %d decides by %s, in force is %s, %v", j, verdict.Policy.Digest, info.Digest, err)
			}
		}
	}
	if err := json.Unmarshal(found, &info); err != nil {
		f.Fatal(err)
	}
	f.next().want(200, "PUT", "/api/v1/policies/dev-to-stable", []byte(info.Document), "Content-Type", "application/yaml", "If-Match", "*")
}

// attested pushes an image that may rise.
func (f *fleet) attested(repository string) {
	f.Helper()
	s := f.next()
	s.put("dev/"+repository, "1.0", f.image("dev/"+repository))
	s.attest(clients.New(f.T), s.host+"/dev/"+repository+":1.0")
}

// promotions asks for a promotion through one replica and waits for it at another.
func (f *fleet) promotions() {
	for i := range 3 {
		repository := fmt.Sprintf("fleet/promoted%d", i)
		f.attested(repository)
		request := []byte(`{"repository":"` + repository + `","reference":"1.0","from":"dev","to":"stable"}`)
		asked := f.next().want(202, "POST", "/api/v1/promotions", request, "Content-Type", "application/json", "Prefer", "respond-async")
		var begun, again struct{ ID, State string }
		if err := json.Unmarshal(asked.body, &begun); err != nil {
			f.Fatal(err)
		}
		// The very same through another replica is the same promotion: it waits for its end.
		a := f.next().want(200, "POST", "/api/v1/promotions", request, "Content-Type", "application/json")
		if err := json.Unmarshal(a.body, &again); err != nil || again.ID != begun.ID || again.State != "Succeeded" {
			f.Fatalf("asked again: %+v, %v; want %s", again, err, begun.ID)
		}
		f.everywhere(200, "/v2/stable/"+repository+"/manifests/1.0", nil)
		f.everywhere(200, "/api/v1/promotions/"+begun.ID, func(a answer) string {
			if !bytes.Contains(a.body, []byte(`"Succeeded"`)) {
				return "it has not ended"
			}
			return ""
		})
	}
}

// dies kills a replica in the middle of a promotion: another carries it out.
func (f *fleet) dies(etcd *clientv3.Client) {
	const repository = "fleet/dies"
	f.attested(repository)
	victim := f.servers[0]
	id := victim.cutOff(etcd, "/pinned/", repository)
	f.started[0].cmd = nil // it is not to be stopped
	f.servers = f.servers[1:]
	for range 1200 {
		var p struct{ State, Error string }
		if err := json.Unmarshal(f.next().want(200, "GET", "/api/v1/promotions/"+id, nil).body, &p); err != nil {
			f.Fatal(err)
		}
		if p.State == "Succeeded" {
			f.everywhere(200, "/v2/stable/"+repository+"/manifests/1.0", nil)
			f.servers[0].noTraces(etcd)
			return
		}
		if p.State != "Pending" && p.State != "Running" {
			f.Fatalf("it is %s: %s", p.State, p.Error)
		}
		f.everywhere(404, "/v2/stable/"+repository+"/manifests/none", nil)
		time.Sleep(50 * time.Millisecond)
	}
	f.Fatal("nobody takes it over")
}
