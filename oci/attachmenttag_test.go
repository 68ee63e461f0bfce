package oci_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"sluice.dev/sluice/oci"
)

func TestAttachmentTags(t *testing.T) {
	sum := digest.FromString("x").Encoded()
	for tag, want := range map[string]bool{
		"sha256-" + sum: true, "sha256-" + sum + ".sig": true, "sha256-" + sum + ".att": true,
		"sha512-" + sum + "-x": true, oci.FallbackTag(digest.SHA512.FromString("x")): true,
		"1.0": false, "sha256-abc": false, "latest": false, "release-" + sum: false,
	} {
		if oci.IsAttachmentTag(tag) != want {
			t.Errorf("%s: want %v", tag, want)
		}
		if (oci.AttachedTo(tag) != "") != want {
			t.Errorf("%s is attached to %q", tag, oci.AttachedTo(tag))
		}
	}
	long := digest.SHA512.FromString("x")
	for tag, want := range map[string]string{
		"sha256-" + sum: "sha256:" + sum, "sha256-" + sum + ".sig": "sha256:" + sum, "sha256-" + sum + "-x": "sha256:" + sum,
		oci.FallbackTag(long): long.String()[:len("sha512:")+64], "latest": "",
	} {
		if got := oci.AttachedTo(tag); got != want {
			t.Errorf("%s is attached to %q, want %q", tag, got, want)
		}
	}
}
