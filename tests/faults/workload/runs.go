package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// run is a collection, or a check, as the registry tells of it.
type run struct {
	ID      string           `json:"id"`
	State   string           `json:"state"`
	Error   string           `json:"error"`
	Figures map[string]int64 `json:"figures"`
	Result  json.RawMessage  `json:"result"`
}

// start asks for a run, collections or checks, and does not wait for its end.
func start(plural, options string) request {
	return request{method: http.MethodPost, path: "/api/v1/" + plural, user: "ops", body: []byte(options),
		header: map[string]string{"Content-Type": "application/json", "Prefer": "respond-async"}}
}

// collect asks for a collection of garbage.
func (c *Client) collect(ctx context.Context, _ string) { c.begin(ctx, "collections", "{}") }

// check asks for a check of a registry that is in use.
func (c *Client) check(ctx context.Context, _ string) { c.begin(ctx, "checks", `{"readData": true}`) }

func (c *Client) begin(ctx context.Context, plural, options string) {
	r := c.do(ctx, start(plural, options))
	end := "begun"
	switch {
	case r.uncertain():
		end = "unknown"
	case r.status == http.StatusConflict: // one is under way, of this replica or another
		end = "busy"
	case r.status/100 != 2:
		c.journal.Violation("POST %s: %v", r.url, r)
	}
	c.journal.Count(plural, end)
}

// toEnd has a run come to its end, when nothing fails any more, and counts it. Before it
// another may be under way, or be that of a replica that was killed.
func (c *Client) toEnd(ctx context.Context, plural, options, when string, within time.Duration) (run, error) {
	var known run
	var r reply
	for began := time.Now(); time.Since(began) < within && ctx.Err() == nil; c.pause(ctx, 1) {
		if known.ID == "" {
			if r = c.do(ctx, start(plural, options)); r.status == http.StatusConflict || r.uncertain() {
				continue
			}
		} else if r = c.do(ctx, request{method: http.MethodGet, path: "/api/v1/" + plural + "/" + known.ID, user: "ops"}); r.uncertain() {
			continue
		}
		if err := json.Unmarshal(r.body, &known); r.status/100 != 2 || err != nil {
			return known, fmt.Errorf("%s: %v", r.url, r)
		}
		switch known.State {
		case "Running":
		case "Succeeded":
			c.journal.Count(plural, when)
			return known, nil
		default:
			return known, fmt.Errorf("%s: run %s is %s: %s", plural, known.ID, known.State, known.Error)
		}
	}
	return known, fmt.Errorf("%s: none has ended in %v: %v", plural, within, r)
}

// CollectAtRest collects, when nothing fails any more, until a collection has come to its
// end.
func (c *Client) CollectAtRest(ctx context.Context, within time.Duration) error {
	_, err := c.toEnd(ctx, "collections", "{}", "at rest", within)
	return err
}

// CollectInCalm collects again and again until stop ends, while others work and nothing fails.
func (c *Client) CollectInCalm(ctx, stop context.Context, within time.Duration) error {
	for stop.Err() == nil {
		if _, err := c.toEnd(ctx, "collections", "{}", "in calm", within); err != nil {
			return err
		}
	}
	return nil
}

// CheckAtRest has the registry check itself, bytes included, and notes what it finds: the
// checker of this harness and that of the registry are two opinions.
func (c *Client) CheckAtRest(ctx context.Context, within time.Duration) error {
	known, err := c.toEnd(ctx, "checks", `{"readData": true}`, "at rest", within)
	if err != nil {
		return err
	}
	if n := known.Figures["unrepaired"]; n > 0 {
		c.journal.Violation("the registry's own check found %d faults at rest: %.2000s", n, known.Result)
	}
	return nil
}
