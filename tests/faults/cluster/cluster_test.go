package cluster_test

import (
	"net/http"
	"testing"
	"time"

	"sluice.dev/sluice/tests/faults/cluster"
)

// A replica that is killed comes back, and so does a member of etcd; two of three members
// dead are noticed and healed.
func TestCluster(t *testing.T) {
	binary, err := cluster.Build(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	c := cluster.Start(t, cluster.Config{Seed: 7, Binary: binary, Failed: func(what string) { t.Error(what) }})
	c.Replicas[1].Kill()
	for range 3000 {
		if lives, _, _ := c.Replicas[1].Lives(); len(lives) == 2 && lives[1].Ready > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if lives, killed, _ := c.Replicas[1].Lives(); len(lives) != 2 || lives[1].Ready == 0 || killed != 1 {
		t.Errorf("lives: %+v, %d killed, want a second that is ready", lives, killed)
	}
	leader, err := c.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leader.Kill()
	for _, m := range c.Members {
		if m != leader {
			m.Kill()
			break
		}
	}
	resp, err := http.Get(c.Replicas[0].URL + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		t.Error("ready without a quorum of etcd")
	}
	c.Heal()
	if err := c.WaitReady(time.Minute); err != nil {
		t.Error(err)
	}
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}
