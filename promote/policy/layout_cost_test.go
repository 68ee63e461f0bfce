package policy

import (
	"fmt"
	"testing"
	"time"

	intoto "github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/promote/attest"
)

// Anybody may attach one link many times, in manifests that differ in an annotation. What
// that costs is bounded.
func TestLayoutRepeatedLinkCost(t *testing.T) {
	y := newYard(t)
	p := y.load(y.chain())
	big := y.performed(p, with(buildLink(), func(l *intoto.Link) {
		for i := range 500 {
			l.Materials[fmt.Sprintf("src/%d", i)] = file("x")
		}
	}), true, "alice")
	var links []attest.Evidence
	for i := range 1500 { // 1500 × 50 kB: within what is read
		again := big
		again.Manifest = digest.FromString(fmt.Sprint(i))
		links = append(links, again)
	}
	for i := range 20 { // links of other builds of the same artifact: up to 3500 would do
		links = append(links, y.performed(p, with(packaged(), func(l *intoto.Link) {
			l.Materials["app"] = file(fmt.Sprint("another", i))
		}), true, "carol"))
	}
	start := time.Now()
	v := p.Evaluate(scene{t: t}.facts(links...))
	if took := time.Since(start); v.Allowed || took > time.Minute {
		t.Errorf("allowed %v, took %s for 20 links of the last step", v.Allowed, took)
	}
}

// Links of other builds, which differ, are tried within a bound of work too.
func TestLayoutSearchCost(t *testing.T) {
	y := newYard(t)
	layout := y.chain()
	for range 90 {
		layout.Steps[0].ExpectedProducts = append([][]string{{"ALLOW", "other/*"}}, layout.Steps[0].ExpectedProducts...)
	}
	p := y.load(layout)
	large := func(l *intoto.Link) {
		for i := range 3000 {
			l.Materials[fmt.Sprintf("src/%d", i)] = file("x")
			l.Products[fmt.Sprintf("src/%d", i)] = file("x")
		}
	}
	var links []attest.Evidence
	for i := range 15 {
		links = append(links, y.performed(p, with(buildLink(), func(l *intoto.Link) { large(l); l.Products["app"] = file(fmt.Sprint("built", i)) }), true, "alice"),
			y.performed(p, with(packaged(), func(l *intoto.Link) { l.Materials["app"] = file(fmt.Sprint("another", i)) }), true, "carol"))
	}
	start := time.Now()
	v := p.Evaluate(scene{t: t}.facts(links...))
	if took := time.Since(start); took > time.Minute {
		t.Errorf("took %s", took)
	}
	decided(t, v, false, "takes too long")
}
