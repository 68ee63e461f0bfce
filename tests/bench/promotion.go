package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const promotedLayers = 4

// promotion moves a large image with two attestations into a tier that shares the bucket,
// and into one that has its own.
type promotion struct{ *bench }

// promoted is what the API says of a promotion.
type promoted struct {
	State string
	Moved struct{ Manifests, Blobs, Copied, Linked, Streamed int }
}

func (p *promotion) round(ctx context.Context) error {
	size := int64(p.largeMiB) << 20
	layers := newBlobs(promotedLayers, size)
	tag := fmt.Sprintf("r%d", p.current)
	repo := p.sluice.at("dev/bench/promoted")
	if _, err := repo.pushImage(ctx, tag, layers); err != nil {
		return err
	}
	for name := range predicates() {
		if err := p.attest(ctx, repo.host()+"/"+repo.repository+":"+tag, name); err != nil {
			return err
		}
	}
	for _, layer := range layers {
		if err := p.store.put(ctx, layer); err != nil {
			return err
		}
	}
	// An operation is all layers, so that seconds compare.
	one := load{clients: 1, ops: 1, size: size * promotedLayers}
	one.name = "promotion, one bucket"
	if err := p.compare(ctx, one, contender{theSluice, p.sluice.usage, func(ctx context.Context, _ int) error {
		return p.promote(ctx, tag, "stable")
	}}); err != nil {
		return err
	}
	one.name = "promotion, two buckets"
	return p.compare(ctx, one,
		contender{theStore, 0, func(ctx context.Context, _ int) error {
			_, err := work(ctx, load{clients: clients, ops: promotedLayers}, func(ctx context.Context, i int) error {
				return p.store.copyAside(ctx, layers[i])
			})
			return err
		}},
		contender{theSluice, p.sluice.usage, func(ctx context.Context, _ int) error { return p.promote(ctx, tag, "release") }})
}

// attest signs a statement with the key of the policies' authority.
func (p *promotion) attest(ctx context.Context, ref, predicate string) error {
	cmd := exec.CommandContext(ctx, p.binary, "attest", ref, "--type", predicate,
		"--predicate", filepath.Join(p.dir, predicate+".json"), "--key", filepath.Join(p.dir, "ci.key"))
	cmd.Env = append(os.Environ(), "SLUICE_KEY_PASSWORD=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("attest %s: %w\n%s", ref, err, out)
	}
	return nil
}

// promote asks for a promotion and waits until it is done.
func (p *promotion) promote(ctx context.Context, tag, to string) error {
	body := fmt.Sprintf(`{"repository":"bench/promoted","reference":%q,"from":"dev","to":%q}`, tag, to)
	resp, err := p.sluice.do(ctx, http.MethodPost, p.sluice.url+"/api/v1/promotions", strings.NewReader(body), int64(len(body)), typed("application/json"), http.StatusCreated)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer promoted
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.State != "Succeeded" || answer.Moved.Streamed != 0 {
		return fmt.Errorf("promote %s to %s: %+v, want it done and nothing streamed", tag, to, answer)
	}
	return nil
}

func (p *promotion) rows() {
	work := func(where string) string {
		return fmt.Sprintf("promotion of %d MiB in %d layers, two attestations, %s", promotedLayers*p.largeMiB, promotedLayers, where)
	}
	// What the server may read and write of its own: records, manifests, evidence.
	most := float64(promotedLayers*p.largeMiB) / 100
	const one, two = "promotion, one bucket", "promotion, two buckets"
	p.medianRow(work("one bucket"), "time", one, theSluice, milliseconds, "ms", atMost(60))
	p.medianRow(work("one bucket"), "read and written by the server (rchar + wchar)", one, theSluice, traffic, "MiB", atMost(most))
	p.ratioRow(work("two buckets"), "speed, ratio to the raw server-side copy", two, theSluice, theStore, volume, "MiB/s", atLeast(0.9))
	p.medianRow(work("two buckets"), "read and written by the server (rchar + wchar)", two, theSluice, traffic, "MiB", atMost(most))
}

func milliseconds(s sample) float64 { return s.Seconds * 1000 }
