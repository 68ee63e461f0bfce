package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/tiers"
)

func TestAge(t *testing.T) {
	for text, want := range map[Age]time.Duration{"": 0, "1s": time.Second, "720h": 720 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, err := text.duration(); err != nil || got != want {
			t.Errorf("%q: got %s, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []Age{"0", "0h", "-1h", "30d", "1 h", "h", "1", "ever"} {
		if got, err := text.duration(); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}

func TestRetentionConfig(t *testing.T) {
	src := configSource{file: write(t, t.TempDir(), configName, `
tiers:
  - name: dev
    push: true
    retention:
      - tags: ["v*"]
        keep: true
      - {repositories: ["acme/**"], tags: ["pr-*"], keepLast: 10, keepFor: 720h}
      - untagged: 168h
  - {name: stable, from: dev}
`)}
	want := []tiers.RetentionRule{{Tags: []string{"v*"}, Keep: true},
		{Repositories: []string{"acme/**"}, Tags: []string{"pr-*"}, KeepLast: 10, KeepFor: 720 * time.Hour}, {Untagged: 168 * time.Hour}}
	expect := func() {
		t.Helper()
		cfg, err := loadConfig(src)
		if err != nil {
			t.Fatal(err)
		}
		if got, bad := cfg.Tiers[0].retention(); len(bad) > 0 || !reflect.DeepEqual(got.Rules, want) {
			t.Errorf("got %+v, %v, want %+v", got, bad, want)
		}
		if got, _ := cfg.Tiers[1].retention(); len(got.Rules) > 0 {
			t.Errorf("stable has %+v", got)
		}
	}
	expect()
	src.environ = map[string]string{
		"SLUICE_TIERS_0_RETENTION_0_KEEP": "true", "SLUICE_TIERS_0_RETENTION_0_TAGS": "v*,r*",
		"SLUICE_TIERS_0_RETENTION_1_REPOSITORIES": "a,b", "SLUICE_TIERS_0_RETENTION_1_KEEP_LAST": "3", "SLUICE_TIERS_0_RETENTION_1_KEEP_FOR": "24h",
		"SLUICE_TIERS_0_RETENTION_2_UNTAGGED": "2h",
	}
	want = []tiers.RetentionRule{{Tags: []string{"v*", "r*"}, Keep: true},
		{Repositories: []string{"a", "b"}, Tags: []string{"pr-*"}, KeepLast: 3, KeepFor: 24 * time.Hour}, {Untagged: 2 * time.Hour}}
	expect()
}

func TestRetentionConfigRefuses(t *testing.T) {
	dev := "tiers:\n- name: dev\n  push: true\n  retention:\n  - tags: [v1]\n    keep: true\n  - %s\n"
	for name, tc := range map[string]struct{ yaml, want string }{
		"unknown key":     {fmt.Sprintf(dev, "keepFirst: 1"), `line 7: unknown key "keepFirst"`},
		"no age":          {fmt.Sprintf(dev, "keepFor: 30d"), `line 7: tiers[0].retention[1].keepFor: "30d" is no age: want hours, minutes and seconds as 720h`},
		"no time":         {fmt.Sprintf(dev, "untagged: 0h"), `line 7: tiers[0].retention[1].untagged: "0h" is no age`},
		"short":           {fmt.Sprintf(dev, "untagged: 5m"), "line 7: tiers[0].retention[1].untagged: is 5m: want 1h or more"},
		"nothing kept":    {fmt.Sprintf(dev, "tags: [x]"), "line 7: tiers[0].retention[1]: keeps nothing"},
		"kept not":        {fmt.Sprintf(dev, "keep: false"), "line 7: tiers[0].retention[1]: keeps nothing"},
		"no number":       {fmt.Sprintf(dev, "keepLast: many"), "line 7: another kind of value is wanted here"},
		"too many":        {fmt.Sprintf(dev, "keepLast: 20000"), "line 7: tiers[0].retention[1].keepLast: is 20000"},
		"no pattern":      {fmt.Sprintf(dev, `{tags: [a, "["], keepLast: 1}`), `line 7: tiers[0].retention[1].tags[1]: "[" is no pattern`},
		"no repositories": {fmt.Sprintf(dev, `{repositories: ["/x"], keepLast: 1}`), `line 7: tiers[0].retention[1].repositories[0]: "/x" is no pattern`},
		"hidden":          {fmt.Sprintf(dev, "keepLast: 1\n  - {tags: [a], keepLast: 1}"), "line 8: tiers[0].retention[2]: never decides: rule [1]"},
		"a map":           {"tiers:\n- name: dev\n  push: true\n  retention: {keepLast: 1}", "line 4: another kind of value is wanted here"},
		"above":           {"tiers:\n- {name: dev, push: true}\n- name: stable\n  from: dev\n  retention:\n  - keepLast: 1", "line 5: tiers[1].retention: takes nothing away here"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: write(t, t.TempDir(), configName, tc.yaml)})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("want an error that holds %q, it is: %v", tc.want, err)
			}
		})
	}
}
