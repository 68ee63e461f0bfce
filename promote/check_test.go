package promote_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/policy"
	"sluice.dev/sluice/tests/stores"
	"sluice.dev/sluice/tiers"
)

// promoted is a gate with promotions of every end, in which faults are planted by hand.
type promoted struct {
	*approvers
	image    ocispec.Descriptor // stands in stable and release
	child    digest.Digest      // one of its platforms
	first    promote.Promotion  // of it, to stable
	second   promote.Promotion  // to release
	approval digest.Digest      // of the second, attached in stable by the registry
	failed   promote.Promotion
	waits    promote.Promotion
}

func newPromoted(t *testing.T) *promoted {
	t.Helper()
	p := &promoted{approvers: newApprovers(t, 1, nil)}
	p.image = p.platforms("1.0")
	children, err := p.repo("dev").Resolve(t.Context(), "1.0")
	p.must(err)
	_, body, err := p.repo("dev").Manifest(t.Context(), children.Digest.String())
	p.must(err)
	var index ocispec.Index
	p.must(json.Unmarshal(body, &index))
	p.child = index.Manifests[0].Digest
	p.provenance(p.image)
	p.approve("alice", p.image)
	p.first = p.promoteOK(request("1.0", "stable"))
	approved, err := p.engine.Approve(t.Context(), "bob", promote.ApprovalRequest{Repository: repository, Reference: "1.0", From: "stable", To: "release",
		Bundle: p.statement("bob", "stable-to-release", policy.Approved, p.image.Digest)})
	p.must(err)
	p.approval = approved.Digest
	p.second = p.promoteOK(request("1.0", "release"))
	other := p.image2("2.0", "two")
	p.provenance(other)
	p.waits = p.wait(request("2.0", "stable"))
	p.image2("3.0", "three")
	p.failed, _, err = p.engine.Promote(t.Context(), "manager", request("3.0", "stable"))
	p.must(err)
	p.tidied()
	for _, registry := range *p.processes {
		p.must(registry.Release(t.Context()))
	}
	return p
}

func (p *promoted) image2(tag, content string) ocispec.Descriptor {
	return p.gate.image(tag, content, nil)
}

func (g *gate) check(o tiers.CheckOptions) tiers.Checked {
	g.Helper()
	o.Actor = "auditor"
	found, err := g.engine.Check(g.Context(), o, nil)
	g.must(err)
	if found.Phase != tiers.CheckDone {
		g.Errorf("the check ended in the phase %q", found.Phase)
	}
	return found
}

func (g *gate) found(when string, found tiers.Checked, want ...string) {
	g.Helper()
	var got []string
	var text strings.Builder
	for _, f := range found.Findings {
		got = append(got, f.Kind)
		fmt.Fprintf(&text, "\n  %s", tiers.Encode(f))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		g.Errorf("%s: found %q, want %q:%s", when, got, want, text.String())
	}
}

func (g *gate) stored(key string) tiers.Record {
	g.Helper()
	records, err := g.registry.Catalog().Get(g.Context(), key)
	g.must(err)
	if records[0].Revision == 0 {
		g.Fatalf("there is no record %s", key)
	}
	return records[0]
}

func (g *gate) plant(key, value string) {
	g.Helper()
	_, err := g.registry.Catalog().Commit(g.Context(), tiers.Change{Put: []tiers.Put{{Key: key, Value: []byte(value)}}})
	g.must(err)
}

func (g *gate) remove(keys ...string) {
	g.Helper()
	for _, key := range keys {
		g.stored(key)
	}
	_, err := g.registry.Catalog().Commit(g.Context(), tiers.Change{Delete: keys})
	g.must(err)
}

// edit changes fields of a record; one that becomes nil goes.
func (g *gate) edit(key string, change map[string]any) {
	g.Helper()
	var v map[string]any
	g.must(json.Unmarshal(g.stored(key).Value, &v))
	for name, value := range change {
		v[name] = value
		if value == nil {
			delete(v, name)
		}
	}
	g.plant(key, string(tiers.Encode(v)))
}

// document finds the document of what a promotion brought.
func (g *gate) document(p promote.Promotion) (ref string, d digest.Digest) {
	g.Helper()
	for _, tier := range g.registry.Tiers() {
		prefix := "store/" + tier.Store() + "/ref/"
		records, err := g.registry.Catalog().List(g.Context(), tiers.Query{Prefix: prefix, Limit: tiers.MaxPage})
		g.must(err)
		for _, r := range records {
			if rest, ok := strings.CutSuffix(r.Key, "/.record/"+p.ID); ok {
				return r.Key, digest.Digest(strings.TrimPrefix(rest, prefix))
			}
		}
	}
	g.Fatalf("promotion %s has no document", p.ID)
	return "", ""
}

func (g *gate) objectOf(tier string, d digest.Digest) (t *tiers.Tier, record, key string) {
	g.Helper()
	t, err := g.registry.Tier(tier)
	g.must(err)
	record = "store/" + t.Store() + "/blob/" + d.String()
	var v struct{ Key string }
	g.must(json.Unmarshal(g.stored(record).Value, &v))
	return t, record, v.Key
}

// replace puts a document that says other things in the place of that of a promotion.
func (g *gate) replace(p promote.Promotion, edit func(doc *promote.Record)) {
	g.Helper()
	ref, d := g.document(p)
	t, _, key := g.objectOf(p.To, d)
	rc, err := t.Bucket.Open(g.Context(), key, 0, -1)
	g.must(err)
	defer rc.Close()
	var doc promote.Record
	g.must(json.NewDecoder(rc).Decode(&doc))
	edit(&doc)
	body := tiers.Encode(doc)
	now := digest.FromBytes(body)
	_, err = g.registry.Store(g.Context(), t, now, body)
	g.must(err)
	g.remove(ref)
	g.plant(strings.Replace(ref, d.String(), now.String(), 1), "")
	for _, e := range g.events("promotion.") { // the event names the document
		if e.Cause == p.ID && e.Document == d {
			e.Document = now
			g.plant("event/"+e.ID, string(tiers.Encode(e)))
		}
	}
	g.must(g.registry.Release(g.Context()))
}

// A sound registry with promotions of every end has no findings.
func TestCheckPromoted(t *testing.T) {
	t.Parallel()
	p := newPromoted(t)
	found := p.check(tiers.CheckOptions{ReadData: true})
	p.found("sound", found)
	if found.Records["promotions"] != 4 || found.Records["waiting promotions"] != 1 || found.Records["standings"] != 2 {
		t.Errorf("counted %v", found.Records)
	}
	p.found("repaired", p.check(tiers.CheckOptions{Repair: true}))
}

// Evidence that rose although the policy said no is vouched for by that promotion.
func TestCheckBadNews(t *testing.T) {
	t.Parallel()
	a := tested(t, "")
	image := a.gate.image("1.0", "one", nil)
	a.result(image, "PASSED", 3*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Succeeded)
	a.result(image, "FAILED", 2*time.Hour)
	a.promoteAgain(request("1.0", "stable"), promote.Failed)
	a.must(a.registry.Release(t.Context()))
	a.found("sound", a.check(tiers.CheckOptions{ReadData: true}))
}

// plantedPromotion is a fault, and what is found of it; left stays after a repair.
type plantedPromotion struct {
	name        string
	plant       func(p *promoted)
	finds, left []string
	besides     []string // comes to light while it is repaired, and goes with it
	alone       bool     // it damages more than the catalog
}

func list(kinds ...string) []string { return kinds }

var plantedPromotions = []plantedPromotion{
	{name: "a manifest that nothing let rise", alone: true, finds: list("manifest-unvouched"), left: list("manifest-unvouched"), plant: (*promoted).smuggle},
	{name: "a manifest of a refused promotion", alone: true, finds: list("manifest-unvouched"), left: list("manifest-unvouched"), plant: func(p *promoted) {
		p.smuggle()
		p.plant("promotion/x", string(tiers.Encode(map[string]any{"id": "x", "state": "Failed", "repository": repository, "digest": p.failed.Digest, "from": "dev", "to": "stable",
			"tags": []string{}, "requestedBy": "eve", "createdAt": time.Now(), "finishedAt": time.Now(), "verdict": p.failed.Verdict, "moved": map[string]any{}})))
	}},
	{name: "a document that lists what it did not bring", alone: true, finds: list("promotion-record"), left: list("promotion-record"), plant: func(p *promoted) {
		p.replace(p.first, func(doc *promote.Record) { doc.Manifests = doc.Manifests[1:] })
	}},
	{name: "a document of another promotion", alone: true, finds: list("promotion-record"), left: list("promotion-record"), plant: func(p *promoted) {
		p.replace(p.first, func(doc *promote.Record) { doc.Promotion = p.second.ID })
	}},
	{name: "a document that nothing keeps", finds: list("record-missing"), plant: func(p *promoted) {
		ref, _ := p.document(p.first)
		p.remove(ref)
	}},
	{name: "a document that nothing keeps, and the event is sealed", finds: list("record-missing"), left: list("record-missing"), plant: func(p *promoted) {
		ref, _ := p.document(p.first)
		p.remove(ref)
		p.seal()
	}},
	{name: "a document that is gone", alone: true, finds: list("record-missing"), left: list("record-missing"), plant: func(p *promoted) {
		_, d := p.document(p.first)
		t, record, key := p.objectOf("stable", d)
		p.must(t.Bucket.Delete(p.Context(), key))
		p.remove(record)
	}},
	{name: "a document of other bytes", alone: true, finds: list("object-corrupt"), left: list("object-corrupt"), plant: func(p *promoted) {
		_, d := p.document(p.first)
		t, _, key := p.objectOf("stable", d)
		info, err := t.Bucket.Stat(p.Context(), key)
		p.must(err)
		p.must(t.Bucket.Delete(p.Context(), key))
		p.must(t.Bucket.Put(p.Context(), key, bytes.NewReader(make([]byte, info.Size)), info.Size))
	}},
	{name: "a document of no promotion", finds: list("promotion-record"), left: list("promotion-record"), plant: func(p *promoted) {
		_, d := p.document(p.first)
		t, err := p.registry.Tier("stable")
		p.must(err)
		p.plant("store/"+t.Store()+"/ref/"+d.String()+"/.record/x", "")
	}},
	{name: "a manifest that rose and is gone", finds: list("child-missing", "manifest-lost"), left: list("child-missing", "manifest-lost"),
		plant: func(p *promoted) { p.forget("release", p.child) }},
	{name: "evidence that rose and is gone", finds: list("manifest-lost"), left: list("manifest-lost"), plant: func(p *promoted) { p.forget("release", p.second.Summary) }},
	{name: "a summary of another key", alone: true, finds: list("summary-unverified"), left: list("summary-unverified"), plant: func(p *promoted) {
		p.signers["stable"], _ = newKey(p.T)
		p.engine = p.start(true)
	}},
	{name: "the summary of another promotion", alone: true, finds: list("summary-unverified"), left: list("summary-unverified"), plant: func(p *promoted) {
		other := p.gate.image("4.0", "four", nil)
		p.provenance(other)
		p.approve("alice", other)
		fourth := p.promoteOK(request("4.0", "stable"))
		p.replace(p.first, func(doc *promote.Record) {
			for i := range doc.Manifests {
				if doc.Manifests[i].Digest == p.first.Summary {
					doc.Manifests[i].Digest = fourth.Summary
				}
			}
		})
		p.edit("promotion/"+p.first.ID, map[string]any{"summary": fourth.Summary})
		p.vouch(p.first.Summary)
	}},
	{name: "a success without a verdict", finds: list("verdict-missing"), left: list("verdict-missing"),
		plant: func(p *promoted) { p.edit("promotion/"+p.first.ID, map[string]any{"verdict": nil}) }},
	{name: "an end without a time", finds: list("event-contradiction", "journal-contradiction"), left: list("event-contradiction", "journal-contradiction"),
		plant: func(p *promoted) { p.edit("promotion/"+p.failed.ID, map[string]any{"finishedAt": nil}) }},
	{name: "a failure that was allowed", finds: list("journal-contradiction"), left: list("journal-contradiction"), plant: func(p *promoted) {
		p.edit("promotion/"+p.failed.ID, map[string]any{"verdict": p.first.Verdict})
	}},
	{name: "an end that is worked on", finds: list("journal-contradiction"), left: list("journal-contradiction"),
		plant: func(p *promoted) { p.edit("promotion/"+p.failed.ID, map[string]any{"owner": "x"}) }},
	{name: "a state that is none", finds: list("event-contradiction", "journal-contradiction", "promotion-stuck"), left: list("event-contradiction", "journal-contradiction"),
		plant: func(p *promoted) { p.edit("promotion/"+p.failed.ID, map[string]any{"state": "Done"}) }},
	{name: "two ends", finds: list("event-contradiction"), left: list("event-contradiction"), plant: func(p *promoted) {
		for _, e := range p.events("promotion.failed") {
			e.ID = p.registry.NewID()
			now := time.Now()
			failed := p.failed
			failed.FinishedAt = &now
			e.Body = tiers.Encode(failed)
			p.plant("event/"+e.ID, string(tiers.Encode(e)))
		}
	}},
	{name: "an end that its event does not tell", finds: list("event-contradiction"), left: list("event-contradiction"), plant: func(p *promoted) {
		p.edit("promotion/"+p.failed.ID, map[string]any{"state": "Errored"})
	}},
	{name: "an end of nothing", finds: list("event-contradiction", "promotion-key-orphan"), left: list("event-contradiction"),
		plant: func(p *promoted) { p.remove("promotion/" + p.failed.ID) }},
	{name: "a promotion that nobody takes up", finds: list("promotion-stuck"), plant: func(p *promoted) {
		p.edit("promotion/"+p.waits.ID, map[string]any{"state": "Running", "waitUntil": nil, "owner": "x"})
		p.remove("promotion-waiting/" + repository + "@" + p.waits.ID)
	}},
	{name: "a promotion that waits and is not looked at", finds: list("promotion-stuck"),
		plant: func(p *promoted) { p.remove("promotion-waiting/" + repository + "@" + p.waits.ID) }},
	{name: "a promotion that is looked at and does not wait", finds: list("waiting-orphan"),
		plant: func(p *promoted) {
			p.plant("promotion-waiting/"+repository+"@"+p.failed.ID, string(p.stored("promotion-waiting/"+repository+"@"+p.waits.ID).Value))
		}},
	{name: "a promotion that is looked at and does not exist", finds: list("waiting-orphan"),
		plant: func(p *promoted) {
			p.plant("promotion-waiting/"+repository+"@x", string(p.stored("promotion-waiting/"+repository+"@"+p.waits.ID).Value))
		}},
	{name: "an open promotion that does not exist", finds: list("open-orphan"), plant: func(p *promoted) { p.plant("promotion-open/x", "") }},
	{name: "an end that nobody tidies up after", finds: list("promotion-untidied"), plant: func(p *promoted) { p.plant("promotion-open/"+p.first.ID, "") }},
	{name: "a request that leads to nothing", finds: list("promotion-key-orphan"), plant: func(p *promoted) { p.plant("promotion-key/x", "y") }},
	{name: "a standing that nothing decided", finds: list("standing-orphan"), left: list("standing-orphan"), plant: func(p *promoted) {
		p.edit("standing/stable/"+repository+"@"+p.image.Digest.String(), map[string]any{"promotion": "x"})
	}},
	{name: "pins and journals of an attempt that is over", finds: list("pin-orphan", "pin-orphan", "staged-orphan", "committed-orphan"), plant: func(p *promoted) {
		t, err := p.registry.Tier("stable")
		p.must(err)
		id := p.first.ID + ".1"
		p.plant("store/"+t.Store()+"/ref/"+p.image.Digest.String()+"/.pin/"+id, "")
		p.plant("pinned/"+id+"/x", `{"store":"s","digests":[]}`)
		p.plant("staged/"+id+"/x", `{"manifest":"`+p.image.Digest.String()+`"}`)
		p.plant("committed/"+id, "")
	}},
	{name: "a pin of an attempt before", finds: list("pin-orphan"), plant: func(p *promoted) {
		t, err := p.registry.Tier("stable")
		p.must(err)
		p.plant("store/"+t.Store()+"/ref/"+p.image.Digest.String()+"/.pin/"+p.waits.ID+".7", "")
	}},
	{name: "a pin of a promotion that has ended", finds: list("pin-orphan"), plant: func(p *promoted) {
		t, err := p.registry.Tier("dev")
		p.must(err)
		p.plant("store/"+t.Store()+"/ref/"+p.image.Digest.String()+"/.pin/"+p.first.ID, "")
	}},
	{name: "a policy of another document", finds: list("policy-corrupt"), left: list("policy-corrupt"),
		plant: func(p *promoted) { p.edit("policy/dev-to-stable", map[string]any{"document": "{}"}) }},
	{name: "a policy of another digest", finds: list("policy-corrupt"), left: list("policy-corrupt"), plant: func(p *promoted) {
		p.edit("policy/dev-to-stable", map[string]any{"digest": p.image.Digest})
	}},
	{name: "a tier that nothing governs", finds: list("policy-pointer"), left: list("policy-pointer"), plant: func(p *promoted) { p.remove("tier-policy/stable") }},
	{name: "a tier that the policy of another governs", finds: list("policy-pointer"), left: list("policy-pointer"), plant: func(p *promoted) { p.plant("tier-policy/stable", "stable-to-release") }},
	{name: "a tier that an unknown policy governs", finds: list("policy-pointer"), left: list("policy-pointer"), plant: func(p *promoted) { p.plant("tier-policy/stable", "x") }},
	{name: "a journal that cannot be read", finds: list("record-invalid"), left: list("record-invalid"), plant: func(p *promoted) { p.plant("promotion/"+p.first.ID, "{") }},
	{name: "a journal of another id", finds: list("record-invalid"), left: list("record-invalid"), plant: func(p *promoted) { p.edit("promotion/"+p.failed.ID, map[string]any{"id": "x"}) }},
	{name: "a policy that cannot be read", finds: list("record-invalid"), left: list("record-invalid"), plant: func(p *promoted) { p.plant("policy/dev-to-stable", "[]") }},
	{name: "a standing that cannot be read", finds: list("record-invalid"), left: list("record-invalid"),
		plant: func(p *promoted) { p.plant("standing/stable/"+repository+"@"+p.image.Digest.String(), "x") }},
	{name: "a record that waits and cannot be read", finds: list("record-invalid"), left: list("record-invalid"),
		plant: func(p *promoted) { p.plant("promotion-waiting/"+repository+"@"+p.waits.ID, "x") }},
}

// smuggle makes an image visible in stable past the gate.
func (p *promoted) smuggle() {
	p.Helper()
	dev, stable := p.repo("dev"), p.repo("stable")
	desc, body, err := dev.Manifest(p.Context(), "3.0")
	p.must(err)
	var m ocispec.Manifest
	p.must(json.Unmarshal(body, &m))
	for _, d := range []digest.Digest{desc.Digest, m.Config.Digest, m.Layers[0].Digest} {
		_, err := p.registry.Bring(p.Context(), dev.Tier, stable.Tier, d, "test", "eve")
		p.must(err)
	}
	store := "store/" + stable.Tier.Store() + "/ref/"
	for _, b := range []ocispec.Descriptor{m.Config, m.Layers[0]} {
		p.plant("tier/stable/link/"+repository+"@"+b.Digest.String(), fmt.Sprintf(`{"size":%d}`, b.Size))
		p.plant(store+b.Digest.String()+"/stable/"+repository+"@"+desc.Digest.String(), "")
	}
	p.plant(store+desc.Digest.String()+"/.manifest/stable/"+repository, "")
	p.plant("tier/stable/manifest/"+repository+"@"+desc.Digest.String(), string(p.stored("tier/dev/manifest/"+repository+"@"+desc.Digest.String()).Value))
}

// forget takes a manifest out of a tier with everything that stands for it.
func (p *promoted) forget(tier string, d digest.Digest) {
	p.Helper()
	_, body, err := p.repo(tier).Manifest(p.Context(), d.String())
	p.must(err)
	var m ocispec.Manifest
	p.must(json.Unmarshal(body, &m))
	t, err := p.registry.Tier(tier)
	p.must(err)
	store := "store/" + t.Store() + "/ref/"
	for _, b := range append(m.Layers, m.Config) {
		p.remove(store + b.Digest.String() + "/" + tier + "/" + repository + "@" + d.String())
	}
	p.remove(store+d.String()+"/.manifest/"+tier+"/"+repository, "tier/"+tier+"/manifest/"+repository+"@"+d.String())
	if m.Subject != nil {
		p.remove("tier/" + tier + "/referrer/" + repository + "@" + m.Subject.Digest.String() + "/" + d.String())
	}
}

// seal takes all events away, as one who keeps a ledger of them does.
func (p *promoted) seal() {
	p.Helper()
	records, err := p.registry.Catalog().List(p.Context(), tiers.Query{Prefix: "event/", Limit: tiers.MaxPage})
	p.must(err)
	for _, r := range records {
		p.remove(r.Key)
	}
}

// vouch has the second promotion list a manifest of stable, so that it is vouched for.
func (p *promoted) vouch(d digest.Digest) {
	p.Helper()
	journal := p.stored("promotion/" + p.first.ID).Value
	var moved struct{ Moved promote.Moved }
	p.must(json.Unmarshal(journal, &moved))
	moved.Moved.Manifests++
	p.edit("promotion/"+p.first.ID, map[string]any{"moved": moved.Moved})
	p.replace(p.first, func(doc *promote.Record) { doc.Manifests = append(doc.Manifests, promote.RecordManifest{Digest: d}) })
}

// Every kind of fault that promotions can have is found when it is planted by hand, and
// nothing else with it; a repair leaves what the table says.
func TestCheckPlantedPromotions(t *testing.T) {
	t.Parallel()
	var together []plantedPromotion
	for _, planted := range plantedPromotions {
		if !planted.alone {
			together = append(together, planted)
			continue
		}
		t.Run(planted.name, func(t *testing.T) {
			t.Parallel()
			newPromoted(t).planted(planted)
		})
	}
	t.Run("one after the other", func(t *testing.T) {
		t.Parallel()
		p := newPromoted(t)
		putBack := stores.Remember(t, p.registry.Catalog())
		for _, planted := range together {
			t.Run(planted.name, func(t *testing.T) {
				defer putBack()
				p.T = t
				p.planted(planted)
			})
		}
	})
}

func (p *promoted) planted(planted plantedPromotion) {
	p.Helper()
	planted.plant(p)
	found := p.check(tiers.CheckOptions{ReadData: true})
	p.found("planted", found, planted.finds...)
	for _, f := range found.Findings {
		if f.Severity == "" || f.Message == "" || f.Remedy == "" || f.Repaired {
			p.Errorf("a finding says too little: %s", tiers.Encode(f))
		}
	}
	repaired := p.check(tiers.CheckOptions{ReadData: true, Repair: true})
	p.found("repaired", repaired, slices.Concat(planted.finds, planted.besides)...)
	if len(planted.left) == 0 && !repaired.Sound() {
		p.Errorf("a repair left %v", repaired.Severity)
	}
	p.found("after the repair", p.check(tiers.CheckOptions{ReadData: true}), planted.left...)
}
