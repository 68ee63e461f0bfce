package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"

	"sluice.dev/sluice/promote/policy"
)

// file is where the schema is kept, from the root of the module.
const file = "promote/policy/schemas/policy.v1alpha1.json"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run() error {
	text, err := generate()
	if err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o644)
}

// generate renders the schema. It runs in the root of the module, where the library looks
// for the comments.
func generate() ([]byte, error) {
	reflector := &jsonschema.Reflector{
		Anonymous:                  true,
		RequiredFromJSONSchemaTags: true, // what json omits is not what a document may
		Mapper:                     special,
	}
	if err := reflector.AddGoComments("sluice.dev/sluice", "promote/policy"); err != nil {
		return nil, err
	}
	schema := reflector.Reflect(&policy.Document{})
	schema.Title = "Sluice policy"
	schema.ID = "https://sluice.dev/schemas/policy.v1alpha1.json"
	for name, definition := range schema.Definitions {
		definition.Description = ""
		for pair := definition.Properties.Oldest(); pair != nil; pair = pair.Next() {
			describe(pair.Key, pair.Value)
		}
		definition.Required = slices.Clone(required()[name])
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// required lists what has to stand in each part of a document.
func required() map[string][]string {
	return map[string][]string{
		"Document":       {"apiVersion", "kind", "metadata", "spec"},
		"Metadata":       {"name"},
		"Spec":           {"from", "to", "authorities", "require"},
		"AuthoritySpec":  {"name"},
		"Requirement":    {"name"},
		"ExceptionsSpec": {"from", "rules"},
		"FreezeSpec":     {"name"},

		"LicenceException":  {"purl", "licences", "reason"},
		"VEXSpec":           {"authorities"},
		"VulnerabilitySpec": {"max"},
		"LayoutSpec":        {"authorities"},
		"NotarySpec":        {"identities"},
		"BuilderSpec":       {"maxBuildLevel"},
		"DependenciesSpec":  {"tier"},
		"SummarySpec":       {"verifier"},
	}
}

// describe puts a comment into one line and adds what only the loader knows.
func describe(name string, property *jsonschema.Schema) {
	property.Description = strings.Join(strings.Fields(property.Description), " ")
	switch name {
	case "apiVersion":
		property.Const = policy.APIVersion
	case "kind":
		property.Const = policy.Kind
	}
}

// special are the types of which Go does not say what they may hold.
func special(t reflect.Type) *jsonschema.Schema {
	one := func(values ...any) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Enum: values} }
	switch t {
	case reflect.TypeFor[policy.Mode]():
		return one(policy.Enforce, policy.Warn, policy.Off)
	case reflect.TypeFor[policy.OnRevoked]():
		return one(policy.Report, policy.Quarantine)
	case reflect.TypeFor[policy.Scope]():
		return one(policy.ScopeIndex, policy.ScopeEach)
	case reflect.TypeFor[policy.SBOMFormat]():
		return one(policy.FormatSPDX, policy.FormatCycloneDX)
	case reflect.TypeFor[policy.Unknown]():
		return one(policy.UnknownRefuse, policy.UnknownAllow)
	case reflect.TypeFor[policy.Carry]():
		list := uint64(1)
		return &jsonschema.Schema{OneOf: []*jsonschema.Schema{
			one("all", "verified"),
			{Type: "array", MinItems: &list, Items: &jsonschema.Schema{Type: "string", MinLength: &list}},
		}}
	}
	return nil
}
