package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"sluice.dev/sluice/promote/policy"
)

// TestFresh fails where the types have changed and make generate was not run.
func TestFresh(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is stale: make generate", file)
	}
	// Every schema is one, and its examples are what it describes.
	for _, name := range policy.SchemaNames() {
		schema, document := compile(t, name)
		examples, _ := document.(map[string]any)["examples"].([]any)
		for _, example := range examples {
			if err := schema.Validate(example); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if name != "policy" && len(examples) == 0 {
			t.Errorf("%s has no example", name)
		}
	}
}

func compile(t *testing.T, name string) (*jsonschema.Schema, any) {
	t.Helper()
	text, err := policy.Schema(name)
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema, document
}

// decode reads YAML as an editor does, for which a time is a text.
func decode(t *testing.T, text []byte) any {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	plainTimes(&root)
	var value any
	if err := root.Decode(&value); err != nil {
		t.Fatal(err)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	value, err = jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return value
}

func plainTimes(node *yaml.Node) {
	if node.Tag == "!!timestamp" {
		node.Tag = "!!str"
	}
	for _, child := range node.Content {
		plainTimes(child)
	}
}

// TestSamples holds the samples against the schema, and the same with a mistake in them.
func TestSamples(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	schema, _ := compile(t, "policy")
	files, err := filepath.Glob(filepath.Join("deploy", "policies", "*.yaml"))
	samples, err2 := filepath.Glob(filepath.Join("deploy", "policies", "samples", "*.yaml"))
	if err != nil || err2 != nil || len(files) == 0 || len(samples) == 0 {
		t.Fatalf("%v, %v, %v, %v", files, err, samples, err2)
	}
	for _, file := range append(files, samples...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(decode(t, text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
		for _, mistake := range [][2]string{{"kind: TierPolicy", "kind: Policy"}, {"  require:", "  requires:"}, {"- name:", "- named:"}} {
			broken := strings.Replace(string(text), mistake[0], mistake[1], 1)
			if broken == string(text) {
				continue
			}
			if schema.Validate(decode(t, []byte(broken))) == nil {
				t.Errorf("%s: %q passes", file, mistake[1])
			}
		}
	}
}
