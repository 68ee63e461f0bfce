package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	manifestTags = 200 // of as many images
	moves        = 200 // of a tag in a round
)

// manifests reads manifests by tag, and moves a tag through one replica to read it
// through another.
type manifests struct {
	*bench
	repo registry
	bare server
}

func tagName(i int) string { return fmt.Sprintf("t%05d", i) }

// setup pushes the images and starts the bare handler, which reads the record of one of
// the tags and answers the manifest of it.
func (m *manifests) setup(ctx context.Context) error {
	m.repo = m.sluice.at("dev/bench/manifests")
	_, err := work(ctx, load{clients: clients, ops: manifestTags}, func(ctx context.Context, i int) error {
		_, err := m.repo.pushImage(ctx, tagName(i), newBlobs(smallLayers, smallBlob))
		return err
	})
	if err != nil {
		return err
	}
	if err := m.startReplica(); err != nil {
		return err
	}
	body, err := m.repo.body(ctx, "/manifests/"+tagName(0))
	if err != nil {
		return err
	}
	m.bare, err = m.startBare(answer{key: tagsPrefix("bench/manifests") + tagName(0), body: body, mediaType: mediaMfst})
	return err
}

func (m *manifests) round(ctx context.Context) error {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		err := m.compare(ctx, load{name: "manifest " + method, clients: clients, seconds: m.seconds},
			contender{theBare, m.bare.usage, func(ctx context.Context, _ int) error { return m.bare.get(ctx, method, "/manifests/"+tagName(0)) }},
			contender{theSluice, m.sluice.usage, func(ctx context.Context, _ int) error {
				return m.repo.get(ctx, method, "/manifests/"+tagName(pick(manifestTags)))
			}})
		if err != nil {
			return err
		}
	}
	return m.fresh(ctx)
}

// fresh moves a tag through one replica and at once asks the other.
func (m *manifests) fresh(ctx context.Context) error {
	moved, seen := m.sluice.at("dev/bench/moved"), m.replica.at("dev/bench/moved")
	var manifests [2]ocispec.Manifest
	for i := range manifests {
		layers := newBlobs(1, smallBlob)
		if err := moved.push(ctx, layers[0], byPut); err != nil {
			return err
		}
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: layers[0].digest, Size: smallBlob}
		manifests[i] = ocispec.Manifest{Config: d, Layers: []ocispec.Descriptor{d}, MediaType: mediaMfst}
		manifests[i].SchemaVersion = 2
	}
	var stale int
	for i := range moves {
		desc, err := moved.pushManifest(ctx, "moving", manifests[i%2])
		if err != nil {
			return err
		}
		got, err := seen.resolve(ctx, "moving")
		if err != nil {
			return err
		}
		if got != desc.Digest {
			stale++
		}
	}
	m.count("tag moved", theSluice, stale)
	return nil
}

func (m *manifests) rows() {
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		work := "manifest " + method + " by tag"
		name := "manifest " + method
		m.ratioRow(work, "ratio to a bare handler with one linearizable read", name, theSluice, theBare, rate, "/s", atLeast(0.8))
		m.medianRow(work, "p99", name, theSluice, p99, "ms", atMost(5))
		m.ratioRow(work, "server CPU to the bare handler's", name, theSluice, theBare, cpuEach, "ms each", owed{})
	}
	m.valueRow("tag moved through one replica, read through another", fmt.Sprintf("old answers in %d, most of a round", moves),
		"tag moved", theSluice, count, slices.Max[[]float64], "", atMost(0))
}
