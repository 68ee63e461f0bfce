package promote_test

import (
	"errors"
	"fmt"
	"testing"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
)

// Whatever write of an approval fails, in whatever way, it is attached once in the end, and
// who was told that it was not can give it again.
func TestApproveFaults(t *testing.T) {
	for name, f := range map[string]fault{"lost": {}, "applied": {applied: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newApprovers(t, 1, nil)
			n := 0
			for a.approvalFault(fmt.Sprint(name, n), n, f) {
				n++
			}
			if n < 4 {
				t.Errorf("%d writes were tried", n)
			}
		})
	}
}

// approvalFault approves an image of its own with a fault at the n-th write, and says whether
// there was such a write.
func (a *approvers) approvalFault(tag string, n int, f fault) bool {
	a.Helper()
	image := a.image(tag, tag, nil)
	a.provenance(image)
	process, h := a.process(true)
	hit := h.inject(n, f, func() {})
	request := promote.ApprovalRequest{Repository: repository, Reference: tag, From: "dev", To: "stable",
		Bundle: a.statement("alice", "dev-to-stable", policy.Approved, image.Digest)}
	_, err := process.engine.Approve(a.Context(), "alice", request)
	if err != nil && (!hit.Load() || !errors.Is(err, oci.ErrUnavailable)) { // some only tidy up
		a.Fatalf("write %d: %v", n, err)
	}
	if err != nil {
		if _, err := process.engine.Approve(a.Context(), "alice", request); err != nil {
			a.Fatalf("write %d, again: %v", n, err)
		}
	}
	if attached := a.attached("dev", image); len(attached) != 2 { // the provenance as well
		a.Errorf("write %d: %d are attached", n, len(attached))
	}
	a.promoteOK(promote.Request{Repository: repository, Reference: tag, To: "stable"})
	return hit.Load()
}
