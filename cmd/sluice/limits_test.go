package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"sluice.dev/sluice/tiers"
)

func TestSize(t *testing.T) {
	for text, want := range map[Size]int64{
		"": 0, "1": 1, "4096": 4096, "10B": 10, "4MiB": 4 << 20, "500GiB": 500 << 30, "500 GiB": 500 << 30, "1.5TB": 1_500_000_000_000, "2kB": 2000, "2KB": 2000,
		"1KiB": 1024, "7PiB": 7 << 50,
	} {
		if got, err := text.bytes(); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []Size{"0", "0GiB", "-1", "GiB", "10 G", "10G", "1,5GB", "1,000", "10gib", "10 bytes", "1e9", "10GiBs", "1.GiB", ".5GiB", " 1GiB", "0x10", "100000000PiB", "ten"} {
		if got, err := text.bytes(); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
}

func TestLimitsConfig(t *testing.T) {
	file := write(t, t.TempDir(), configName, `
tiers:
  - name: dev
    push: true
    limits:
      blobSize: 20GiB
      manifestSize: 1048576
      nameLength: 200
      uploads: 1000
      immutableTags: ["v*"]
      delete: false
      quotas: [{prefix: acme, size: 500GiB}, {size: 2TiB}]
  - {name: stable, from: dev}
admin: {listen: "127.0.0.1:6060"}
`)
	want := tiers.Limits{BlobSize: 20 << 30, ManifestSize: 1 << 20, NameLength: 200, Uploads: 1000, ImmutableTags: []string{"v*"}, NoDelete: true,
		Quotas: []tiers.Quota{{Prefix: "acme", Bytes: 500 << 30}, {Bytes: 2 << 40}}}
	src := configSource{file: file}
	expect := func() {
		t.Helper()
		cfg, err := loadConfig(src)
		if err != nil {
			t.Fatal(err)
		}
		if got, bad := cfg.Tiers[0].Limits.limits(); len(bad) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v, want %+v", got, bad, want)
		}
		if got, _ := cfg.Tiers[1].Limits.limits(); !reflect.DeepEqual(got, tiers.Limits{}) {
			t.Errorf("stable has %+v", got)
		}
		if cfg.Admin.Listen != "127.0.0.1:6060" {
			t.Errorf("admin listens on %q", cfg.Admin.Listen)
		}
	}
	expect()
	src.environ = map[string]string{
		"SLUICE_TIERS_0_LIMITS_BLOB_SIZE": "1GiB", "SLUICE_TIERS_0_LIMITS_MANIFEST_SIZE": "2MiB", "SLUICE_TIERS_0_LIMITS_NAME_LENGTH": "100",
		"SLUICE_TIERS_0_LIMITS_UPLOADS": "5", "SLUICE_TIERS_0_LIMITS_IMMUTABLE_TAGS": "v*,r*", "SLUICE_TIERS_0_LIMITS_DELETE": "true",
		"SLUICE_TIERS_0_LIMITS_QUOTAS_0_SIZE": "1TiB",
	}
	want = tiers.Limits{BlobSize: 1 << 30, ManifestSize: 2 << 20, NameLength: 100, Uploads: 5, ImmutableTags: []string{"v*", "r*"},
		Quotas: []tiers.Quota{{Prefix: "acme", Bytes: 1 << 40}, {Bytes: 2 << 40}}}
	expect()
}

func TestLimitsConfigRefuses(t *testing.T) {
	dev := "tiers:\n- name: dev\n  push: true\n  limits:\n    %s\n"
	for name, tc := range map[string]struct{ yaml, want string }{
		"unknown key":        {fmt.Sprintf(dev, "layerSize: 1"), `line 5: unknown key "layerSize"`},
		"no size":            {fmt.Sprintf(dev, "blobSize: big"), `line 5: tiers[0].limits.blobSize: "big" is no size: want bytes as 4096, 4MiB, 500GiB or 1.5TB`},
		"nothing":            {fmt.Sprintf(dev, "blobSize: 0"), `line 5: tiers[0].limits.blobSize: "0" is no size`},
		"large manifest":     {fmt.Sprintf(dev, "manifestSize: 5MiB"), `line 5: tiers[0].limits.manifestSize: is 5242880 bytes: want up to 4194304`},
		"long name":          {fmt.Sprintf(dev, "nameLength: 300"), "line 5: tiers[0].limits.nameLength: is 300"},
		"many uploads":       {fmt.Sprintf(dev, "uploads: 20000"), "line 5: tiers[0].limits.uploads: is 20000"},
		"no pattern":         {fmt.Sprintf(dev, `immutableTags: ["v*", "["]`), `line 5: tiers[0].limits.immutableTags[1]: "[" is no pattern`},
		"delete perhaps":     {fmt.Sprintf(dev, "delete: perhaps"), "line 5"},
		"quota of a pattern": {fmt.Sprintf(dev, `quotas: [{prefix: "acme/**", size: 1GiB}]`), `tiers[0].limits.quotas[0].prefix: "acme/**": want whole components`},
		"quota of nothing":   {fmt.Sprintf(dev, "quotas: [{prefix: acme}]"), "line 5: tiers[0].limits.quotas[0].size: is missing"},
		"quota of no size":   {fmt.Sprintf(dev, "quotas: [{prefix: acme, size: much}]"), `line 5: tiers[0].limits.quotas[0].size: "much" is no size`},
		"two quotas":         {fmt.Sprintf(dev, "quotas: [{size: 1GiB}, {size: 2GiB}]"), "quotas[1].prefix: \"\" has a quota already"},
		"above":              {"tiers:\n- {name: dev, push: true}\n- name: stable\n  from: dev\n  limits: {blobSize: 1GiB}", "line 5: tiers[1].limits: limit nothing here: only promotion fills this tier"},
		"tags above":         {"tiers:\n- {name: dev, push: true}\n- name: stable\n  from: dev\n  limits: {immutableTags: [v1]}", "line 5: tiers[1].limits: limit nothing here"},
		"admin for others":   {"admin: {listen: 0.0.0.0:6060}", `line 1: admin.listen: "0.0.0.0:6060" is not a loopback address, and profiles show the memory`},
		"admin everywhere":   {"admin: {listen: \":6060\"}", "is not a loopback address"},
		"admin by name":      {"admin: {listen: registry:6060}", "is not a loopback address"},
		"admin nowhere":      {"admin: {listen: here}", `line 1: admin.listen: "here": want HOST:PORT`},
		"admin on the same":  {"listen: 127.0.0.1:5000\nadmin: {listen: 127.0.0.1:5000}", "line 2: admin.listen: \"127.0.0.1:5000\" is the address of the registry itself"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, tc.yaml)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
			if err != nil && strings.Count(err.Error(), "quotas[0].size") > 1 {
				t.Errorf("it is said twice: %v", err)
			}
		})
	}
}
