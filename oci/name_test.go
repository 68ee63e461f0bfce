package oci_test

import (
	"errors"
	"strings"
	"testing"

	"sluice.dev/sluice/oci"
)

func TestCheckName(t *testing.T) {
	good := []string{"a", "dev/acme/app", "dev/a.b_c__d---e/0", strings.Repeat("a", 255)}
	bad := []string{"", "/", "a/", "/a", "a//b", "../a", "dev/../a", "Dev/app", "dev/App", "a b", "a\x00", "a/_b", "a.", "a..b", "a___b", "ä", "a:b", "a@b", strings.Repeat("a", 256), "a\n"}
	for _, name := range good {
		if err := oci.CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		if err := oci.CheckName(name); !errors.Is(err, oci.ErrNameInvalid) {
			t.Errorf("%q: got %v, want ErrNameInvalid", name, err)
		}
	}
}

func TestCheckTag(t *testing.T) {
	for tag, ok := range map[string]bool{"latest": true, "_1.0-A": true, strings.Repeat("a", 128): true, "": false, ".a": false, "-a": false, "a/b": false, "a b": false, "a\n": false, strings.Repeat("a", 129): false, "ü": false} {
		if err := oci.CheckTag(tag); (err == nil) != ok {
			t.Errorf("%q: got %v, want ok=%v", tag, err, ok)
		}
	}
}

func TestParseDigest(t *testing.T) {
	hex := strings.Repeat("0a", 32)
	for d, ok := range map[string]bool{
		"sha256:" + hex: true, "sha512:" + hex + hex: true,
		"sha256:" + hex[:62]: false, "sha256:" + strings.ToUpper(hex): false, "sha384:" + hex + hex[:32]: false,
		"md5:" + hex[:32]: false, "sha256:": false, hex: false, "": false, "sha256:" + hex + "\n": false, "SHA256:" + hex: false,
	} {
		_, err := oci.ParseDigest(d)
		if (err == nil) != ok {
			t.Errorf("%q: got %v, want ok=%v", d, err, ok)
		}
		if err != nil && !errors.Is(err, oci.ErrDigestInvalid) {
			t.Errorf("%q: got %v, want ErrDigestInvalid", d, err)
		}
	}
}

func TestParseReference(t *testing.T) {
	hex := "sha256:" + strings.Repeat("0a", 32)
	tests := []struct{ in, host, name, tag, target, bad string }{
		{in: "localhost:5000/dev/acme/app:1.0", host: "localhost:5000", name: "dev/acme/app", tag: "1.0", target: "1.0"},
		{in: "h/release/app@" + hex, host: "h", name: "release/app", target: hex},
		{in: "h/release/app:1@" + hex, host: "h", name: "release/app", tag: "1", target: hex},
		{in: "h/dev/app", host: "h", name: "dev/app"},
		{in: "h/app:1", bad: "tier is missing"},
		{in: "app", bad: "want host"},
		{in: "/dev/app", bad: "want host"},
		{in: "h/dev/app:", bad: "tag"},
		{in: "h/dev/app@sha256:1", bad: "digest"},
		{in: "h/dev/App", bad: "name"},
	}
	for _, tt := range tests {
		ref, err := oci.ParseReference(tt.in)
		if tt.bad != "" {
			if err == nil || !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%q: got %v, want an error with %q", tt.in, err, tt.bad)
			}
			continue
		}
		if err != nil || ref.Host != tt.host || ref.Name() != tt.name || ref.Tag != tt.tag || ref.Target() != tt.target || ref.String() != tt.in {
			t.Errorf("%q: got %+v, %v", tt.in, ref, err)
		}
	}
}
