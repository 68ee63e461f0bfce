package attest_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"sluice.dev/sluice/promote/attest"
)

func TestDecodeStrictRefuses(t *testing.T) {
	nest := func(open, shut string, n int) string {
		return `{"a":` + strings.Repeat(open, n) + "1" + strings.Repeat(shut, n) + `}`
	}
	tests := []struct{ name, document, want string }{
		{"duplicate key", `{"subject":1,"subject":2}`, "duplicate"},
		{"duplicate key by escape", `{"subject":1,"s\u0075bject":2}`, "duplicate"},
		{"duplicate key deep down", `{"a":[{"b":{"c":1,"c":1}}]}`, "duplicate"},
		{"case variant", `{"subject":1,"Subject":2}`, "differ only in case"},
		{"case variant first", `{"SUBJECT":1,"subject":2}`, "differ only in case"},
		{"case variant deep down", `{"a":[[{"x":{"Digest":1,"digest":2}}]]}`, "differ only in case"},
		{"case variant by long s", `{"subject":1,"ſubject":2}`, "differ only in case"},
		{"case variant by Kelvin sign", `{"k":1,"K":2}`, "differ only in case"},
		{"case variant in Greek", `{"σ":1,"ς":2}`, "differ only in case"},
		{"second object", `{}{}`, "follows"},
		{"second object on a line of its own", "{}\n{}", "follows"},
		{"trailing letter", `{}x`, "follows"},
		{"trailing NUL", "{}\x00", "follows"},
		{"trailing brace", `{}}`, "follows"},
		{"array", `[]`, "not a JSON object"},
		{"string", `"{}"`, "not a JSON object"},
		{"null", `null`, "not a JSON object"},
		{"nothing", ``, "not a JSON object"},
		{"byte order mark", "\ufeff{}", "invalid"},
		{"truncated", `{"a":`, "EOF"},
		{"truncated object", `{"a":1`, "EOF"},
		{"truncated array", `{"a":[1`, "EOF"},
		{"comment", `{/**/}`, "invalid"},
		{"trailing comma", `{"a":1,}`, "invalid"},
		{"NaN", `{"a":NaN}`, "invalid"},
		{"leading zero", `{"a":01}`, "invalid"},
		{"invalid UTF-8 in a value", "{\"a\":\"\xff\"}", "UTF-8"},
		{"invalid UTF-8 in a key", "{\"\xc0\xaf\":1}", "UTF-8"},
		{"lone surrogate", `{"a":"\ud800"}`, "surrogate"},
		{"arrays one level too deep", nest("[", "]", 64), "deeper than 64"},
		{"objects one level too deep", nest(`{"a":`, "}", 64), "deeper than 64"},
		{"depth bomb of arrays", `{"a":` + strings.Repeat("[", 1_000_000), "deeper than 64"},
		{"depth bomb of objects", strings.Repeat(`{"a":`, 100_000), "deeper than 64"},
		{"too many values", `{"a":[` + strings.Repeat("1,", attest.MaxValues) + `1]}`, "values"},
		{"integer over 64 bits", `{"a":18446744073709551616}`, "64 bits"},
		{"integer under 64 bits", `{"a":-9223372036854775809}`, "64 bits"},
		{"float over 2^53", `{"a":9007199254740993.0}`, "exact"},
		{"float out of range", `{"a":1e400}`, "exact"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree, err := attest.DecodeStrict([]byte(tt.document), attest.MaxDepth)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.60v, %.200v; want an error with %q", tree, err, tt.want)
			}
		})
	}
}

func TestDecodeStrict(t *testing.T) {
	document := ` {"i":1,"min":-9223372036854775808,"max":9223372036854775807,"u":18446744073709551615,
		"odd":9007199254740993,"f":1.5,"one":1.0,"e":1e3,"s":"é\u00e9","t":true,"n":null,"o":{},"a":[],"m":[1,"x",{"Y":[]}]} ` + "\n"
	want := map[string]any{
		"i": int64(1), "min": int64(-9223372036854775808), "max": int64(9223372036854775807), "u": uint64(18446744073709551615),
		"odd": int64(9007199254740993), "f": 1.5, "one": 1.0, "e": 1000.0, "s": "éé", "t": true, "n": nil,
		"o": map[string]any{}, "a": []any{}, "m": []any{int64(1), "x", map[string]any{"Y": []any{}}},
	}
	got, err := attest.DecodeStrict([]byte(document), attest.MaxDepth)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %#v\nwant %#v", got, want)
	}
}

func TestDecodeStrictDepth(t *testing.T) {
	document := `{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + `}`
	if _, err := attest.DecodeStrict([]byte(document), 64); err != nil {
		t.Errorf("64 levels: %v", err)
	}
	if _, err := attest.DecodeStrict([]byte(document), 63); err == nil {
		t.Error("64 levels passed a limit of 63")
	}
}

// FuzzDecodeStrict: whatever passes means to encoding/json, which folds nothing in maps
// and lets the last key win, what it means here.
func FuzzDecodeStrict(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"a":1}`, `{"a":1,"A":2}`, `{"a":{"b":[1,2.5,"x",null,true]}}`, `{"a":9007199254740993}`,
		`{"a":1}{"b":2}`, "{\"a\":\"\xff\"}", `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := attest.DecodeStrict(data, attest.MaxDepth)
		if err != nil {
			return
		}
		var loose map[string]any
		if err := json.Unmarshal(data, &loose); err != nil {
			t.Fatalf("encoding/json refuses what passed: %v", err)
		}
		encoded, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		var again map[string]any
		if err := json.Unmarshal(encoded, &again); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(loose, again) {
			t.Fatalf("read as %v here and as %v elsewhere", again, loose)
		}
	})
}
