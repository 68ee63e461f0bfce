package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/tests/faults/history"
)

const pathQuarantines = "/api/v1/quarantines"

// pullsHeld is how often what is in quarantine is pulled, of any replica.
const pullsHeld = 6

// quarantine puts an image that nobody else knows in quarantine, or its configuration, which
// no other image has, and lifts that again.
func (c *Client) quarantine(ctx context.Context, repository string) {
	image := c.newImage(repository)
	if retained(repository) || c.pushImage(ctx, image, image.Tag) != history.Done {
		return
	}
	c.attest(ctx, image, Provenance)
	d := image.Desc.Digest
	if c.rand.IntN(2) == 0 {
		d = image.Blobs[0].Digest
	}
	c.journal.Count("quarantine", c.hold(ctx, image, d))
}

// hold quarantines d. Between the answer and the lifting no replica gives the image away, and
// none has it rise; behind it all do.
func (c *Client) hold(ctx context.Context, image *Image, d digest.Digest) (end string) {
	body := fmt.Appendf(nil, `{"digest":%q,"reason":"of client %d"}`, d, c.number)
	r := c.again(ctx, request{method: http.MethodPost, path: pathQuarantines, user: "ops", body: body, header: map[string]string{"Content-Type": "application/json"}})
	switch {
	case r.uncertain():
		return "unknown"
	case r.status == http.StatusConflict: // others overtook it
		return "conflict"
	case r.status/100 != 2:
		c.journal.Violation("quarantine of %s was refused: %v", d, r)
		return "refused"
	}
	path := "/v2/dev/" + image.Repository + "/manifests/" + image.Desc.Digest.String()
	for n := range pullsHeld {
		q := request{method: http.MethodGet, path: path}
		if n%2 == 1 {
			q.method = http.MethodHead
		}
		if d != image.Desc.Digest && n%3 == 2 {
			q.path = "/v2/dev/" + image.Repository + "/blobs/" + d.String()
		}
		if r := c.do(ctx, q); !r.uncertain() && r.status != http.StatusForbidden {
			c.journal.Violation("I10: %s was asked for while %s was in quarantine: %v", r.url, d, r)
		}
	}
	c.promote(ctx, image, gate{"dev", "stable", ""}, nil)
	if c.journal.rose(image, "stable") {
		c.journal.Violation("I10: %s rose while %s was in quarantine", image.name("dev"), d)
	}
	if r := c.again(ctx, request{method: http.MethodDelete, path: pathQuarantines + "/" + d.String(), user: "ops"}); r.status != http.StatusOK && r.status != http.StatusNotFound {
		return "not lifted" // Settle does
	}
	if _, _, ok := c.getManifest(ctx, http.MethodGet, "dev", image.Repository, image.Desc.Digest.String()); ok {
		return "done"
	}
	return "not seen" // it may be that nobody answered: a refusal is a violation
}

// liftAll lifts what clients that were cut off have left in quarantine.
func (c *Client) liftAll(ctx context.Context) {
	r := c.again(ctx, request{method: http.MethodGet, path: pathQuarantines + "?n=1000", user: "ops"})
	var page struct {
		Quarantines []struct{ Digest digest.Digest }
	}
	if r.status != http.StatusOK || json.Unmarshal(r.body, &page) != nil {
		c.journal.Violation("what is in quarantine cannot be listed though all is healed: %v", r)
		return
	}
	for _, q := range page.Quarantines {
		if r := c.again(ctx, request{method: http.MethodDelete, path: pathQuarantines + "/" + q.Digest.String(), user: "ops"}); r.status != http.StatusOK && r.status != http.StatusNotFound {
			c.journal.Violation("the quarantine of %s cannot be lifted though all is healed: %v", q.Digest, r)
		}
	}
}
