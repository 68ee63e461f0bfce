package promote_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tiers"
)

// What was allowed and takes long to copy does not become visible at a time at which it is
// no longer: in a freeze, behind the end of a key or of an exception.
func TestFreezeCrossed(t *testing.T) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	freeze := func(from, until time.Duration) string {
		return fmt.Sprintf("  freeze:\n    - {name: weekend, from: %q, until: %q}\n", at(from), at(until))
	}
	for name, c := range map[string]struct {
		extra string
		key   string // of the authority
		after time.Duration
		says  string // empty: it rises
	}{
		"a freeze began":       {freeze(time.Hour, 3*time.Hour), "", 2 * time.Hour, "frozen until"},
		"a freeze is over":     {freeze(time.Hour, 3*time.Hour), "", 4 * time.Hour, ""},
		"a key ran out":        {"", "notAfter: " + at(time.Hour), 2 * time.Hour, "built-by-ci"},
		"a key goes on":        {"", "notAfter: " + at(3*time.Hour), 2 * time.Hour, ""},
		"an exception ran out": {freeze(-time.Hour, 5*time.Hour) + "  exceptions: {from: {authorities: [ci]}, rules: [weekend]}\n", "", 2 * time.Hour, "expired"},
		"an exception goes on": {freeze(-time.Hour, 5*time.Hour) + "  exceptions: {from: {authorities: [ci]}, rules: [weekend]}\n", "", 30 * time.Minute, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var late atomic.Int64
			g := bareGate(t, func(c *tiers.Config) {
				c.Now = func() time.Time { return time.Now().Add(time.Duration(late.Load())) }
			})
			document := string(g.policyDocument("dev-to-stable", "dev", "stable", c.extra))
			if c.key != "" {
				document = strings.Replace(document, "    - name: ci\n", "    - name: ci\n      "+c.key+"\n", 1)
			}
			_, err := g.engine.SetPolicy(t.Context(), "admin", "dev-to-stable", []byte(document), "")
			g.must(err)
			image := g.image("1.0", "one", nil)
			g.provenance(image)
			g.attest(image, policy.ExceptionType, fmt.Sprintf(`{"rule":"weekend","digest":%q,"reason":"r","owner":"o","timestamp":%q,"expires":%q}`,
				image.Digest, at(-time.Minute), at(time.Hour)), g.ci)
			process, h := g.process(true)
			h.before("staged/", func() { late.Store(int64(c.after)) }) // while it was being copied
			p, _, err := process.engine.Promote(t.Context(), "manager", request("1.0", "stable"))
			g.must(err)
			if c.says == "" {
				if p.State != promote.Succeeded {
					t.Errorf("got %s: %s", p.State, tiers.Encode(p.Verdict))
				}
				return
			}
			if p.State != promote.Failed || !strings.Contains(string(tiers.Encode(p.Verdict)), c.says) {
				t.Errorf("decided %s, got %s; want a refusal with %q: %s", p.Verdict.EvaluatedAt, p.State, c.says, tiers.Encode(p.Verdict))
			}
			g.absent("stable", image.Digest, "1.0")
			g.noTraces()
		})
	}
}
