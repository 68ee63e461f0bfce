package promote_test

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/tiers"
)

// happened lists all events, in the order in which the catalog took them.
func (g *gate) happened() []tiers.Event {
	g.Helper()
	records, err := g.registry.Catalog().List(g.Context(), tiers.Query{Prefix: "event/", Limit: tiers.MaxPage})
	g.must(err)
	slices.SortFunc(records, func(a, b tiers.Record) int {
		return cmp.Or(cmp.Compare(a.Created, b.Created), strings.Compare(a.Key, b.Key))
	})
	events := make([]tiers.Event, len(records))
	for i, r := range records {
		g.must(json.Unmarshal(r.Value, &events[i]))
	}
	return events
}

// What really happened is accounted for; what cannot have happened is found.
func TestAuditor(t *testing.T) {
	t.Parallel()
	g := newGate(t, nil)
	image := g.image("1.0", "one", nil)
	if _, _, err := g.engine.Promote(t.Context(), "manager", request("1.0", "stable")); err == nil {
		t.Log("refused as it should be")
	}
	g.provenance(image)
	g.promoteOK(request("1.0", "stable"))
	g.setPolicy("stable-to-release", "stable", "release", "  repositories: [\"**\"]")
	g.promoteOK(request("1.0", "release"))
	events := g.happened()
	if problems, promotions := audit(events); len(problems) > 0 || promotions != 3 {
		t.Fatalf("of %d promotions: %q", promotions, problems)
	}

	promoted := slices.IndexFunc(events, func(e tiers.Event) bool { return e.Type == tiers.EventPromoted })
	refused := slices.IndexFunc(events, func(e tiers.Event) bool { return e.Type == tiers.EventRefused })
	policySet := slices.IndexFunc(events, func(e tiers.Event) bool { return e.Type == tiers.EventPolicySet && e.Tier == "stable" })
	evidence := slices.IndexFunc(events, func(e tiers.Event) bool { return e.Type == tiers.EventManifestPushed && e.Subject != "" })
	pushed := slices.IndexFunc(events, func(e tiers.Event) bool {
		return e.Type == tiers.EventManifestPushed && e.Digest == image.Digest
	})
	for name, tt := range map[string]struct {
		edit func([]tiers.Event) []tiers.Event
		want string
	}{
		"no policy":           {func(e []tiers.Event) []tiers.Event { return slices.Delete(e, policySet, policySet+1) }, "in force for stable was @"},
		"another document":    {func(e []tiers.Event) []tiers.Event { e[policySet].Body = []byte("{}"); return e }, "the document is"},
		"another predecessor": {func(e []tiers.Event) []tiers.Event { e[policySet].Previous = image.Digest; return e }, "replaced"},
		"no evidence":         {func(e []tiers.Event) []tiers.Event { return slices.Delete(e, evidence, evidence+1) }, "for rule built-by-ci, which was never pushed"},
		"evidence afterwards": {func(e []tiers.Event) []tiers.Event {
			return append(slices.Delete(e, evidence, evidence+1), events[evidence])
		}, "for rule built-by-ci, which was never pushed"},
		"no artifact": {func(e []tiers.Event) []tiers.Event { return slices.Delete(e, pushed, pushed+1) }, "which was never pushed"},
		"refused, and yet it rose": {func(e []tiers.Event) []tiers.Event {
			e[promoted].Body = edited(t, e[promoted].Body, func(p *promote.Promotion) { p.Verdict.Rules[0].Allowed = false })
			return e
		}, "by its rules: false"},
		"allowed, and yet refused": {func(e []tiers.Event) []tiers.Event {
			e[refused].Body = edited(t, e[refused].Body, func(p *promote.Promotion) { p.Verdict.Rules[0].Allowed = true })
			return e
		}, "by its rules: true"},
		"another policy": {func(e []tiers.Event) []tiers.Event {
			e[refused].Policy = "dev-to-stable@" + image.Digest.String()
			e[refused].Body = edited(t, e[refused].Body, func(p *promote.Promotion) { p.Verdict.Policy.Digest = image.Digest })
			return e
		}, "never was in force for stable"},
		"another promotion": {func(e []tiers.Event) []tiers.Event { e[promoted].Digest = digest.FromString("x"); return e }, "not the one that the event is about"},
		"no verdict": {func(e []tiers.Event) []tiers.Event {
			e[promoted].Body = edited(t, e[promoted].Body, func(p *promote.Promotion) { p.Verdict = nil })
			return e
		}, "not the one that the event is about"},
		"not readable": {func(e []tiers.Event) []tiers.Event { e[promoted].Body = []byte("{"); return e }, "cannot be read"},
	} {
		problems, _ := audit(tt.edit(slices.Clone(events)))
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.Contains(p, tt.want) }) {
			t.Errorf("%s: found %q, want %q", name, problems, tt.want)
		}
	}
}

func audit(events []tiers.Event) (problems []string, promotions int64) {
	var a promote.Auditor
	for _, e := range events {
		problems = append(problems, a.Event(e)...)
	}
	return problems, a.Promotions
}

func edited(t *testing.T, body []byte, edit func(*promote.Promotion)) []byte {
	t.Helper()
	var p promote.Promotion
	if err := json.Unmarshal(body, &p); err != nil {
		t.Fatal(err)
	}
	edit(&p)
	return tiers.Encode(p)
}
