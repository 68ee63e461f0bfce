package promote_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
)

// Bad news that could not rise while a store was gone rises when it is back.
func TestFollowAfterError(t *testing.T) {
	a := following(t)
	image := a.image("1.0", "one", nil)
	a.result(image, "PASSED", 4*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	process, h := a.process(false)
	bad := a.result(image, "FAILED", time.Hour)
	h.set(func(_ context.Context, w write) error {
		if w.object != "" || w.puts("staged/") {
			return fmt.Errorf("%w: the store is gone", oci.ErrUnavailable)
		}
		return w.apply()
	})
	other := *a
	other.gate = process
	defer other.running()()
	for range 1000 {
		if all := a.byItself("stable", image.Digest); len(all) > 0 && all[0].State.Terminal() {
			t.Logf("%s: %s", all[0].State, all[0].Error)
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(5 * time.Second)
	if n := len(a.byItself("stable", image.Digest)); n < 2 || n > 4 {
		t.Errorf("%d promotions in five seconds: want pauses of one, two and four between them", n)
	}
	h.set(nil) // it is back
	a.arrives("stable", image, bad)
	a.tidied()
	all := a.byItself("stable", image.Digest)
	if last := all[0]; last.State != promote.Failed || last.Standing == nil || last.Standing.Allowed {
		t.Errorf("the last of %d: %s %s, standing %+v", len(all), last.State, last.Error, last.Standing)
	}
	time.Sleep(2 * time.Second)
	if n := len(a.byItself("stable", image.Digest)); n != len(all) {
		t.Errorf("%d more promotions of what was decided", n-len(all))
	}
}
