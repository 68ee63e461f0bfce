package tiers_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"sluice.dev/sluice/oci"
	"sluice.dev/sluice/tiers"
)

// leaving is a world in which an index is about to go by a rule: with its child, with what
// is attached to both, and with a tag of its own.
type leaving struct {
	root, child     ocispec.Descriptor
	bundle, sbom    ocispec.Descriptor // attached to the root
	other           ocispec.Descriptor // stays, and loses a tag
	lone            ocispec.Descriptor // nothing is attached to it
	config          ocispec.Descriptor
	body, otherBody []byte // of the child, and of the other
	// when the other thing happened
	rootGone, tagGone, bundleGone, sbomGone bool
}

func (l *leaving) rules(c *clock) func(*tiers.Config) {
	return ruled(c, tiers.RetentionRule{Tags: []string{"main"}, Keep: true}, tiers.RetentionRule{Tags: []string{"v*"}, KeepFor: day}, tiers.RetentionRule{Untagged: 30 * day})
}

func (l *leaving) prepare(w *world, c *clock) {
	*l = leaving{config: w.blob(w.dev, nil), lone: w.image(w.dev, "v0", 3)}
	l.otherBody = image(w.blob(w.dev, bytesOf(1, 40)), nil, "")
	l.other = w.manifest(w.dev, "other", l.otherBody)
	w.manifest(w.dev, "v3", l.otherBody)
	l.body = image(w.blob(w.dev, bytesOf(2, 40)), nil, "")
	l.child = w.manifest(w.dev, "", l.body)
	l.root = w.manifest(w.dev, "v1", index(l.child))
	if err := w.dev.Tag(w.t.Context(), l.root, "v2"); err != nil {
		w.t.Fatal(err)
	}
	l.bundle = w.manifest(w.dev, "", image(l.config, &l.root, evidenceType))
	l.sbom = w.manifest(w.dev, "", image(l.config, &l.root, "application/spdx+json"))
	w.manifest(w.dev, oci.FallbackTag(l.child.Digest)+".att", image(l.config, nil, "application/x.att"))
	c.pass(2 * day)
}

// now notes what is still there.
func (l *leaving) now(w *world) {
	l.rootGone, l.tagGone = !w.has(l.root.Digest.String()), !w.has("v2")
	l.bundleGone, l.sbomGone = !w.has(l.bundle.Digest.String()), !w.has(l.sbom.Digest.String())
}

func (w *world) has(reference string) bool {
	w.t.Helper()
	_, err := w.dev.Resolve(w.t.Context(), reference)
	if err != nil && !errors.Is(err, oci.ErrManifestUnknown) {
		w.t.Fatal(err)
	}
	return err == nil
}

// whole checks that the index is there with all that hangs on it, or nothing of it.
func (l *leaving) whole(w *world, want bool) {
	w.t.Helper()
	for name, reference := range map[string]string{"root": l.root.Digest.String(), "child": l.child.Digest.String(), "bundle": l.bundle.Digest.String(), "sbom": l.sbom.Digest.String(),
		"att": oci.FallbackTag(l.child.Digest) + ".att"} {
		if got := w.has(reference); got != want {
			w.t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

// What others do at any point of a run: between what it decides and what it then does.
func TestRetainInterleaved(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(w *world, l *leaving) error
		check     func(w *world, l *leaving)
	}{
		"nothing": {
			func(*world, *leaving) error { return nil },
			func(w *world, l *leaving) { l.whole(w, false) },
		},
		"a tag moves": {
			func(w *world, l *leaving) error { return w.dev.Tag(w.t.Context(), l.other, "v2") },
			func(w *world, l *leaving) {
				if desc, err := w.dev.Resolve(w.t.Context(), "v2"); err != nil || desc.Digest != l.other.Digest {
					w.t.Errorf("the tag is at %s, %v", desc.Digest, err)
				}
				l.whole(w, false)
			},
		},
		"a tag moves away and back": {
			func(w *world, l *leaving) error {
				return errors.Join(w.dev.Tag(w.t.Context(), l.other, "v2"), w.dev.Tag(w.t.Context(), l.root, "v2"))
			},
			func(w *world, l *leaving) { l.whole(w, !l.rootGone) },
		},
		"another tag is set": {
			func(w *world, l *leaving) error { return w.dev.Tag(w.t.Context(), l.root, "main") },
			func(w *world, l *leaving) { l.whole(w, !l.rootGone) },
		},
		"it is pushed again under its tag": {
			func(w *world, l *leaving) error {
				if l.rootGone && !w.has(l.child.Digest.String()) {
					w.manifest(w.dev, "", l.body)
				}
				_, err := w.dev.PutManifest(w.t.Context(), "v2", "", "", index(l.child))
				return err
			},
			func(w *world, l *leaving) {
				if !w.has("v2") || !w.has(l.root.Digest.String()) || !w.has(l.child.Digest.String()) {
					w.t.Error("it is gone")
				}
				if !l.rootGone {
					l.whole(w, true)
				}
				if w.has(l.bundle.Digest.String()) == l.bundleGone || w.has(l.sbom.Digest.String()) == l.sbomGone {
					w.t.Error("what is attached to it went behind its back")
				}
			},
		},
		"a promotion pins it": {
			func(w *world, l *leaving) error {
				return w.Pin(w.t.Context(), w.dev.Tier, []digest.Digest{l.root.Digest}, "p", true)
			},
			func(w *world, l *leaving) {
				l.whole(w, !l.rootGone)
				if !l.tagGone && !w.has("v2") {
					w.t.Error("its tag went behind the pin")
				}
			},
		},
		"a promotion pins its child": {
			func(w *world, l *leaving) error {
				l.rootGone = !w.has(l.child.Digest.String())
				return w.Pin(w.t.Context(), w.dev.Tier, []digest.Digest{l.child.Digest}, "p", false)
			},
			func(w *world, l *leaving) {
				if !l.rootGone && !w.has(l.child.Digest.String()) {
					w.t.Error("the child went behind the pin")
				}
				if err := w.Unpin(w.t.Context(), "p"); err != nil {
					w.t.Error(err)
				}
			},
		},
		"it is staged above": {
			func(w *world, l *leaving) error {
				if l.rootGone {
					return nil
				}
				w.rise("release", "staged", l.child, l.root)
				return nil
			},
			func(w *world, l *leaving) { l.whole(w, !l.rootGone) },
		},
		"evidence comes": {
			func(w *world, l *leaving) error {
				_, err := w.dev.PutManifest(w.t.Context(), digest.FromBytes(l.late(l.root)).String(), "", "", l.late(l.root))
				return err
			},
			func(w *world, l *leaving) {
				if got := w.has(digest.FromBytes(l.late(l.root)).String()); got != l.rootGone {
					w.t.Errorf("the evidence is there: %v, its subject was gone when it came: %v", got, l.rootGone)
				}
			},
		},
		"evidence comes where none was": {
			func(w *world, l *leaving) error {
				l.rootGone = !w.has(l.lone.Digest.String())
				_, err := w.dev.PutManifest(w.t.Context(), digest.FromBytes(l.late(l.lone)).String(), "", "", l.late(l.lone))
				return err
			},
			func(w *world, l *leaving) {
				if got := w.has(digest.FromBytes(l.late(l.lone)).String()); got != l.rootGone {
					w.t.Errorf("the evidence is there: %v, its subject was gone when it came: %v", got, l.rootGone)
				}
			},
		},
		"a tag alone is pushed again": {
			func(w *world, l *leaving) error {
				_, err := w.dev.PutManifest(w.t.Context(), "v3", "", "", l.otherBody)
				return err
			},
			func(w *world, l *leaving) {
				if !w.has("v3") {
					w.t.Error("the tag is gone")
				}
			},
		},
		"cosign's evidence comes": {
			func(w *world, l *leaving) error {
				l.rootGone = !w.has(l.child.Digest.String())
				_, err := w.dev.PutManifest(w.t.Context(), oci.FallbackTag(l.child.Digest)+".sig", "", "", image(l.config, nil, "application/x.sig"))
				return err
			},
			func(w *world, l *leaving) {
				if got := w.has(oci.FallbackTag(l.child.Digest) + ".sig"); got != l.rootGone {
					w.t.Errorf("the signature is there: %v, its subject was gone when it came: %v", got, l.rootGone)
				}
			},
		},
		"another index names it": {
			func(w *world, l *leaving) error {
				_, err := w.dev.PutManifest(w.t.Context(), "main", "", "", index(l.root, l.other))
				return err
			},
			func(w *world, l *leaving) { l.whole(w, !l.rootGone) },
		},
		"another index names its child": {
			func(w *world, l *leaving) error {
				_, err := w.dev.PutManifest(w.t.Context(), "main", "", "", index(l.child))
				return err
			},
			func(w *world, l *leaving) {
				if w.has("main") != w.has(l.child.Digest.String()) {
					w.t.Error("the index and the child do not agree")
				}
			},
		},
		"a client deletes it": {
			func(w *world, l *leaving) error { return w.dev.DeleteManifest(w.t.Context(), l.root.Digest) },
			nil,
		},
		"a client deletes its tag": {
			func(w *world, l *leaving) error { return w.dev.DeleteTag(w.t.Context(), "v1") },
			func(w *world, l *leaving) { l.whole(w, false) },
		},
		"another run": {
			func(w *world, l *leaving) error {
				_, err := w.Retain(w.t.Context(), tiers.RetainOptions{}, nil)
				return err
			},
			func(w *world, l *leaving) { l.whole(w, false) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, l := &clock{}, &leaving{}
			eachInterleavingOf(t, l.rules(c), func(w *world) { l.prepare(w, c) }, func(w *world) error {
				_, err := w.Retain(w.t.Context(), tiers.RetainOptions{}, nil)
				return err
			}, func(w *world) error {
				l.now(w)
				return tc.meanwhile(w, l)
			}, func(w *world) {
				if left := w.left("tier/dev/orphaned/"); len(left) > 0 && !strings.Contains(name, "pins its child") {
					w.t.Errorf("left are %v", left)
				}
				if tc.check != nil {
					tc.check(w, l)
				}
				c.pass(time.Hour)
				w.retain(tiers.RetainOptions{})
				w.audit(!strings.Contains(name, "staged"))
			})
		})
	}
}

// late is evidence about a manifest that comes meanwhile.
func (l *leaving) late(subject ocispec.Descriptor) []byte {
	return image(l.config, &subject, oci.MediaTypeNotary)
}

// Whatever write of a run fails, either way, the next run ends it as if nothing had been.
func TestRetainFaults(t *testing.T) {
	c, l := &clock{}, &leaving{}
	eachFaultOf(t, l.rules(c), func(w *world) { l.prepare(w, c) }, func(w *world) {
		w.again("retain", func() error {
			_, err := w.Retain(w.t.Context(), tiers.RetainOptions{}, nil)
			return err
		})
		w.faults.disarm() // what the audit does is none of it
		l.whole(w, false)
		w.audit(true)
	})
}

// What came since its subject went, and waits for it to come back, does not follow it, nor
// does anything follow what is back.
func TestRetainOrphans(t *testing.T) {
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprint(back), func(t *testing.T) {
			c, l := &clock{}, &leaving{}
			w := newWorld(t, l.rules(c))
			l.prepare(w, c)
			w.catalog.onCommit(func(change tiers.Change) {
				if slices.ContainsFunc(change.Put, func(p tiers.Put) bool {
					return strings.HasPrefix(p.Key, "tier/dev/orphaned/acme/app@"+l.root.Digest.String())
				}) {
					w.catalog.onCommit(nil)
					w.faults.arm(1, false) // the one behind this
				}
			})
			if _, err := w.Retain(t.Context(), tiers.RetainOptions{}, nil); !errors.Is(err, oci.ErrUnavailable) {
				t.Fatal(err)
			}
			if hit := w.faults.disarm(); hit == "" || w.has(l.root.Digest.String()) || !w.has(l.bundle.Digest.String()) {
				t.Fatalf("it was not cut off behind its subject: %q", hit)
			}
			since := w.manifest(w.dev, "", l.late(l.root))
			w.manifest(w.dev, oci.FallbackTag(l.root.Digest)+".sig", image(l.config, nil, "application/x.sig"))
			if back {
				w.manifest(w.dev, "v1", index(l.child))
			}
			w.retain(tiers.RetainOptions{})
			if !w.has(since.Digest.String()) || !w.has(oci.FallbackTag(l.root.Digest)+".sig") {
				t.Error("what came since is gone")
			}
			if back {
				l.whole(w, true)
			} else if w.has(l.bundle.Digest.String()) || w.has(l.child.Digest.String()) {
				t.Error("what came before is left")
			}
			w.audit(true)
		})
	}
}
