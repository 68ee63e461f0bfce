package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// sealed is how many entries the ledger has.
func (g *garden) sealed() (size int64) {
	g.Helper()
	var head struct {
		Sealed struct {
			Size int64 `json:"size"`
		} `json:"sealed"`
	}
	if err := json.Unmarshal([]byte(g.get("ledger/head")), &head); err != nil || head.Sealed.Size == 0 {
		g.Fatalf("the head of the ledger: %v, %+v", err, head)
	}
	return head.Sealed.Size
}

// newestTile is the last tile of a level, or of the entries.
func (g *garden) newestTile(level string) string {
	g.Helper()
	size := g.sealed()
	if width := size % 256; width != 0 {
		return fmt.Sprintf("ledger/tile/%s/%03d.p/%d", level, size/256, width)
	}
	return fmt.Sprintf("ledger/tile/%s/%03d", level, size/256-1)
}

func (g *garden) newestCheckpoint() string {
	g.Helper()
	digits := fmt.Sprintf("%020d", g.sealed())
	return "ledger/checkpoints/" + digits[:15] + "/" + digits
}

// flip changes the last byte of an object but one.
func (g *garden) flip(key string) (undo func()) {
	g.Helper()
	content := g.object(key)
	changed := slices.Clone(content)
	changed[len(changed)-2] ^= 1
	g.store(key, changed)
	return func() { g.store(key, content) }
}

// lose takes an event away before it is sealed: nothing in the registry knows of it then.
func (g *garden) lose() {
	g.Helper()
	for i := range 50 {
		id := fmt.Sprintf("01J%023d", i)
		key := "sluice/v1/event/" + id
		if _, err := g.etcd.Put(g.Context(), key, fmt.Sprintf(`{"id":%q,"type":"planted"}`, id)); err != nil {
			g.Fatal(err)
		}
		resp, err := g.etcd.Delete(g.Context(), key)
		if err != nil {
			g.Fatal(err)
		}
		if resp.Deleted == 0 {
			continue // the sealer was faster
		}
		report, err := g.checker.Check(g.Context(), false)
		if err != nil {
			g.Fatal(err)
		}
		want := "L: event " + id + " was recorded and is not in the log"
		if !slices.ContainsFunc(report.Violations, func(v string) bool { return strings.Contains(v, want) }) {
			g.Errorf("an event is lost: found %q, want %q", report.Violations, want)
		}
		return
	}
	g.Error("no event could be taken away before it was sealed")
}
