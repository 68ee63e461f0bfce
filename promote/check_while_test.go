package promote_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/promote"
	"sluice.dev/sluice/promote/attest"
	"sluice.dev/sluice/tiers"
)

// workload is somebody who uses a registry while it is checked.
type workload struct {
	*gate
	ctx  context.Context
	repo *tiers.Repository
	done atomic.Int64 // operations
}

// expected says whether an error is one that users of one registry get who do not wait for
// each other.
func expected(err error) bool {
	for _, other := range []error{oci.ErrConflict, oci.ErrManifestUnknown, oci.ErrBlobUnknown, oci.ErrManifestReference, oci.ErrUnsupported, oci.ErrRangeInvalid, oci.ErrUploadUnknown, oci.ErrTagImmutable, context.Canceled} {
		if errors.Is(err, other) {
			return true
		}
	}
	return err == nil
}

func (w *workload) must(what string, err error) bool {
	if w.done.Add(1); !expected(err) && w.ctx.Err() == nil {
		w.Errorf("%s: %v", what, err)
	}
	return err == nil
}

func (w *workload) blob(data []byte) (ocispec.Descriptor, bool) {
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(data), Size: int64(len(data))}
	return desc, w.must("push a blob", w.repo.Push(w.ctx, desc, bytes.NewReader(data)))
}

func (w *workload) manifest(tag string, subject *ocispec.Descriptor, layers ...ocispec.Descriptor) (ocispec.Descriptor, bool) {
	body, _ := json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: layers[0], Layers: layers, Subject: subject}) // plain data
	return w.put(tag, body)
}

func (w *workload) put(tag string, body []byte) (ocispec.Descriptor, bool) {
	if tag == "" {
		tag = digest.FromBytes(body).String()
	}
	pushed, err := w.repo.PutManifest(w.ctx, tag, "", "", body)
	return ocispec.Descriptor{MediaType: pushed.MediaType, Digest: pushed.Digest, Size: pushed.Size}, w.must("push a manifest", err)
}

// images pushes, moves tags and deletes, the same few things again and again.
func (w *workload) images(i int) {
	var layers []ocispec.Descriptor
	for n := range 1 + (i%3)*30 { // up to more than fit one transaction
		if layer, ok := w.blob(fmt.Appendf(nil, "layer %d", n%70)); ok {
			layers = append(layers, layer)
		}
	}
	if len(layers) == 0 {
		return
	}
	image, ok := w.manifest(fmt.Sprintf("moving-%d", i%4), nil, layers...)
	if !ok {
		return
	}
	referrer, _ := w.manifest("", &image, layers[0])
	body, _ := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{image}}) // plain data
	index, _ := w.put(fmt.Sprintf("index-%d", i%2), body)
	if i%2 == 0 {
		for _, d := range []ocispec.Descriptor{index, referrer, image} {
			w.must("delete a manifest", w.repo.DeleteManifest(w.ctx, d.Digest))
		}
		w.must("delete a blob", w.repo.DeleteBlob(w.ctx, layers[len(layers)-1].Digest))
	}
}

// uploads sends blobs in chunks, ends or cancels them, and mounts what there is.
func (w *workload) uploads(i int) {
	data := bytes.Repeat(fmt.Appendf(nil, "%d ", i), 2<<20)[:tiers.PartMin+10+i%3]
	upload, err := w.repo.StartUpload(w.ctx)
	if !w.must("begin an upload", err) {
		return
	}
	if !w.must("append", upload.Append(w.ctx, bytes.NewReader(data[:len(data)-9]), -1, int64(len(data)-9))) {
		return
	}
	if i%3 == 0 {
		w.must("cancel", upload.Cancel(w.ctx))
		return
	}
	w.must("finish", upload.Finish(w.ctx, bytes.NewReader(data[len(data)-9:]), -1, 9, digest.FromBytes(data)))
	other, err := w.registry.Repository("dev", fmt.Sprintf("acme/other-%d", i%3), "dev")
	if w.must("open", err) {
		_, err := other.Mount(w.ctx, w.repo, digest.FromBytes(data))
		w.must("mount", err)
	}
}

// promotions pushes images with evidence and has them rise, to the top now and then.
func (w *workload) promotions(i int) {
	layer, ok := w.blob(fmt.Appendf(nil, "promoted %d", i))
	if !ok {
		return
	}
	tag := fmt.Sprintf("p%d", i)
	image, ok := w.manifest(tag, nil, layer)
	if !ok {
		return
	}
	if i%4 > 0 {
		statement, err := attest.NewStatement(provenanceType, []byte(`{"buildDefinition":{"buildType":"https://example.com/b"}}`), "app", image.Digest)
		w.must("state", err)
		bundle, err := attest.Sign(w.ctx, statement, w.ci)
		w.must("sign", err)
		_, err = attest.Attach(w.ctx, w.repo, bundle, provenanceType, image, time.Now())
		w.must("attach", err)
	}
	for _, to := range []string{"stable", "release"}[:1+i%2] {
		p, _, err := w.engine.Promote(w.ctx, "manager", promote.Request{Repository: w.repo.Name, Reference: tag, To: to})
		if !w.must("promote", err) || p.State != promote.Succeeded {
			return
		}
	}
}

// A check of a sound registry finds nothing, whatever happens in it meanwhile, and a repair
// then repairs nothing.
func TestCheckWhile(t *testing.T) {
	t.Parallel()
	g := newGate(t, func(config *tiers.Config) {
		config.Tiers[0].Limits.Quotas = []tiers.Quota{{Prefix: "acme", Bytes: 1 << 40}, {Bytes: 1 << 40}}
		config.Tiers[2].Bucket = config.Tiers[1].Bucket
	})
	stop := g.running()
	ctx, cancel := context.WithCancel(t.Context())
	var busy sync.WaitGroup
	var loads []*workload
	for _, do := range []func(*workload, int){(*workload).images, (*workload).uploads, (*workload).promotions} {
		w := &workload{gate: g, ctx: ctx}
		var err error
		w.repo, err = g.registry.Repository("dev", fmt.Sprintf("acme/app-%d", len(loads)/2), "dev")
		g.must(err)
		first := 1000 * len(loads)
		loads = append(loads, w)
		busy.Go(func() {
			for i := first; ctx.Err() == nil; i++ {
				do(w, i)
			}
		})
	}
	for i := range 5 {
		found := g.check(tiers.CheckOptions{ReadData: i%2 == 0, Repair: i > 2})
		leftOver := 0
		for _, f := range found.Findings {
			// The deletion of a manifest with many layers leaves references by design.
			if f.Kind == tiers.KindReferenceOrphan && f.Severity == tiers.Info {
				leftOver++
				continue
			}
			t.Errorf("check %d, which found nothing before it: %s", i, tiers.Encode(f))
		}
		t.Logf("check %d: %v, %.1f s, %d references left over", i, found.Records, found.Seconds, leftOver)
	}
	cancel()
	busy.Wait()
	stop()
	var done int64
	for _, w := range loads {
		done += w.done.Load()
	}
	if done < 20 {
		t.Errorf("only %d operations were done meanwhile", done)
	}
	t.Logf("%d operations", done)
	g.tidied()
	found := g.check(tiers.CheckOptions{ReadData: true})
	if !found.Sound() {
		t.Errorf("at rest: %s", tiers.Encode(found))
	}
}
