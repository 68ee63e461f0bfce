package trouble_test

import (
	"errors"
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// An etcd that has used up its quota takes no writes: pulls go on, pushes are refused, the
// log says why and what to do, and when that was done nothing has to be started again.
func TestNoSpace(t *testing.T) {
	t.Parallel()
	s := newSite(t, 1, "--quota-backend-bytes", fmt.Sprint(8<<20))
	layer := random(100_000)
	d := s.pushImage("dev/acme/app", "v1", layer)
	s.attest("acme/app", d)
	location := s.begin("dev/acme/app")
	s.want(202, "PATCH", location, []byte("first "))
	s.fill()

	s.want(200, "GET", "/v2/dev/acme/app/manifests/v1", nil)
	s.want(200, "GET", "/v2/dev/acme/app/tags/list", nil)
	s.want(200, "GET", blobPath("dev/acme/app", layer), nil)
	s.want(200, "GET", "/readyz", nil) // this replica is as good as any other
	s.want(200, "POST", "/api/v1/evaluations", promotion("v1"), "Content-Type", "application/json")
	s.want(204, "GET", location, nil)
	s.wantUnavailable("POST", uploadPath("dev/acme/app", []byte("new")), []byte("new"))
	s.wantUnavailable("PATCH", location, []byte("second"))
	s.wantUnavailable("PUT", "/v2/dev/acme/app/manifests/v2", image(layer), "Content-Type", typeImage)
	s.wantUnavailable("POST", "/api/v1/promotions", promotion("v1"), "Content-Type", "application/json")
	// It writes an event, and so needs room as well.
	s.wantUnavailable("DELETE", "/v2/dev/acme/app/manifests/v1", nil)
	if !s.log.has("database space exceeded") || !s.log.has("alarm disarm") {
		t.Error("the log does not say why, or what to do")
	}
	// What only deletes is taken, also now.
	if _, err := s.catalog.Commit(t.Context(), tiers.Change{Delete: []string{"fill/0"}}); err != nil {
		t.Errorf("delete: %v", err)
	}

	s.makeRoom()
	s.healed(201, "POST", uploadPath("dev/acme/app", []byte("new")), []byte("new"))
	s.healed(202, "PATCH", location, []byte("second"))
	s.healed(201, "PUT", "/v2/dev/acme/app/manifests/v2", image(layer), "Content-Type", typeImage)
	s.healed(201, "POST", "/api/v1/promotions", promotion("v1"), "Content-Type", "application/json")
	s.healed(202, "DELETE", "/v2/dev/acme/app/manifests/v1", nil)
}

// fill writes to the catalog until etcd has no space left.
func (s *site) fill() {
	s.Helper()
	for i := range 100 {
		_, err := s.catalog.Commit(s.Context(), tiers.Change{Put: []tiers.Put{{Key: fmt.Sprint("fill/", i), Value: random(1 << 20)}}})
		if errors.Is(err, oci.ErrUnavailable) {
			return
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	s.Fatal("etcd does not fill up")
}

// makeRoom does what whoever runs etcd does.
func (s *site) makeRoom() {
	s.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: s.etcd, Logger: zap.NewNop()})
	if err != nil {
		s.Fatal(err)
	}
	defer client.Close()
	ctx := s.Context()
	deleted, err := client.Delete(ctx, "sluice/v1/fill/", clientv3.WithPrefix())
	if err != nil {
		s.Fatal(err)
	}
	if _, err := client.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		s.Fatal(err)
	}
	if _, err := client.Defragment(ctx, s.etcd[0]); err != nil {
		s.Fatal(err)
	}
	if _, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		s.Fatal(err)
	}
}
