package main

import (
	"strings"
	"testing"
)

const passing = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA (0.00s)\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

func TestRun(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		events  string
		code    int
		want    []string
		without []string
	}{
		{
			name:    "passing",
			events:  passing,
			want:    []string{"--- PASS: TestA", "ok  \tp", "1 tests passed, 0 failed, 0 skipped, in 1 packages"},
			without: []string{"chatter"},
		},
		{name: "verbose", args: []string{"-v"}, events: passing, want: []string{"chatter"}},
		{
			name: "failing test shows its output",
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"a.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\n"}
{"Action":"fail","Package":"p"}
`,
			code: 1,
			want: []string{"a.go:1: wrong", "FAIL\tp", "0 tests passed, 1 failed"},
		},
		{
			name: "panic leaves a test without an end",
			events: passing + `{"Action":"output","Package":"q","Test":"TestB","Output":"panic: boom\n"}
{"Action":"fail","Package":"q"}
`,
			code: 1,
			want: []string{"panic: boom"},
		},
		{
			name: "skipped test",
			events: passing + `{"Action":"output","Package":"q","Test":"TestB","Output":"q.go:3: no server\n"}
{"Action":"skip","Package":"q","Test":"TestB"}
{"Action":"pass","Package":"q"}
`,
			code: 1,
			want: []string{"no server", "skipped, which counts as a failure: q.TestB"},
		},
		{name: "package without tests", events: passing + `{"Action":"skip","Package":"q"}` + "\n", want: []string{"0 skipped, in 1 packages"}},
		{
			name:   "build failure",
			events: passing + `{"ImportPath":"q","Action":"build-output","Output":"q.go:1: undefined\n"}` + "\n" + `{"ImportPath":"q","Action":"build-fail"}` + "\n",
			code:   1,
			want:   []string{"q.go:1: undefined"},
		},
		{name: "must run and did", args: []string{"-must-run", `^p\.TestA$`}, events: passing},
		{name: "must run and did not", args: []string{"-must-run", "External"}, events: passing, code: 1, want: []string{`no test that matches "External" passed`}},
		{name: "nothing ran", code: 1, want: []string{"no test ran"}},
		{name: "not an event", events: passing + "go: downloading\n", want: []string{"go: downloading"}},
		{name: "bad expression", args: []string{"-must-run", "("}, code: 2},
		{name: "bad flag", args: []string{"-nope"}, code: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			if code := run(tt.args, strings.NewReader(tt.events), &out, &errs); code != tt.code {
				t.Errorf("exit code %d, want %d\n%s%s", code, tt.code, out.String(), errs.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			for _, without := range tt.without {
				if strings.Contains(out.String(), without) {
					t.Errorf("output has %q:\n%s", without, out.String())
				}
			}
		})
	}
}
