package promote_test

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"sluice.dev/sluice/promote"
)

// Who may no longer promote has nothing rise by what he asked for when he might.
func TestWaitRightsEnd(t *testing.T) {
	a := newApprovers(t, 1, nil)
	var ended atomic.Bool
	engine, err := promote.New(promote.Config{Registry: a.registry, Signers: a.signers, URL: "https://registry.example.com", Log: slog.New(slog.DiscardHandler), Alone: true,
		MayPromote: func(user, from, to, repo string) bool {
			if user != "manager" || from != "dev" || to != "stable" || repo != repository {
				t.Errorf("asked about %s, %s, %s, %s", user, from, to, repo)
			}
			return !ended.Load()
		}})
	a.must(err)
	t.Cleanup(engine.Close)
	other := *a.gate
	other.engine = engine
	a.gate = &other
	for tag, state := range map[string]promote.State{"1.0": promote.Succeeded, "2.0": promote.Errored} {
		image := a.image(tag, tag, nil)
		a.provenance(image)
		ended.Store(false)
		p := a.wait(request(tag, "stable"))
		ended.Store(state == promote.Errored)
		stop := a.running()
		a.approve("alice", image)
		p = a.ends(p.ID, state)
		stop()
		if state == promote.Errored {
			if !strings.Contains(p.Error, "manager, who asked for it, may no longer have acme/app rise from dev to stable") {
				t.Errorf("got %q", p.Error)
			}
			a.absent("stable", image.Digest, tag)
		}
	}
	a.tidied()
}
