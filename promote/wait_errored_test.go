package promote_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
)

// pushes adds to cosign's tag, each time that it is called, what nobody signed.
func (a *approvers) pushes(image ocispec.Descriptor) func() {
	var mu sync.Mutex
	var contents [][]byte
	return func() {
		mu.Lock()
		defer mu.Unlock()
		contents = append(contents, []byte(fmt.Sprint("any content ", len(contents))))
		a.att(image, contents...)
	}
}

// Who may push below and nothing else cannot end a promotion that waited for approvals and
// has them: it is decided again when there is quiet.
func TestWaitSurvivesPushes(t *testing.T) {
	a := newApprovers(t, 1, nil)
	image := a.image("1.0", "one", nil)
	a.provenance(image)
	process, h := a.process(false)
	other := *a
	other.gate = process
	p := other.wait(request("1.0", "stable"))
	a.approve("alice", image)
	var pushes atomic.Int64
	push := a.pushes(image)
	h.set(func(_ context.Context, w write) error {
		if n := pushes.Load(); n < 8 && w.puts("committed/") {
			pushes.Add(1)
			push()
		}
		return w.apply()
	})
	defer other.running()()
	push()
	p = a.becomes(p.ID, "an end", func(p promote.Promotion) bool { return p.State.Terminal() })
	if p.State != promote.Succeeded {
		t.Errorf("after %d pushes by somebody: %s, %s", pushes.Load(), p.State, p.Error)
	}
}
