package promote_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
)

// The newest test of an authority counts, and evidence goes only with its subject: who may
// push to dev cannot take a fail out of cosign's tag by writing the tag as it was before.
func TestCosignTagRolledBack(t *testing.T) {
	a := tested(t, "")
	image := a.image("1.0", "one", nil)
	envelope := func(verdict string, ago time.Duration) []byte {
		statement, err := attest.NewStatement(testType, fmt.Appendf(nil, `{"result":%q,"finishedOn":%q}`, verdict, time.Now().Add(-ago).UTC().Format(time.RFC3339)), "app", image.Digest)
		a.must(err)
		bundle, err := attest.Sign(t.Context(), statement, a.ci)
		a.must(err)
		var parts struct {
			Envelope json.RawMessage `json:"dsseEnvelope"`
		}
		a.must(json.Unmarshal(bundle, &parts))
		return parts.Envelope
	}
	passed, failed := envelope("PASSED", 3*time.Hour), envelope("FAILED", time.Hour)
	att := a.att(image, passed)
	a.att(image, passed, failed) // cosign attest of ci adds to what is there
	a.promoteAgain(request("1.0", "stable"), promote.Failed)
	if err := a.repo("dev").Tag(t.Context(), att, cosignTag(image.Digest, ".att")); !errors.Is(err, oci.ErrTagImmutable) {
		t.Errorf("the fail of ci was taken out of %s: %v", cosignTag(image.Digest, ".att"), err)
	}
	a.promoteAgain(request("1.0", "stable"), promote.Failed)
}
