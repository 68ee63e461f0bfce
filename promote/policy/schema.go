package policy

import (
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"sluice.dev/sluice/oci"
)

//go:embed schemas/*.json
var schemas embed.FS

// Schema is a JSON Schema (draft 2020-12): policy, of a policy document, or that of a
// predicate that is read here, by the name of its file without version. The error wraps
// oci.ErrRequestInvalid where there is no such schema.
func Schema(name string) ([]byte, error) {
	for _, path := range schemaFiles() {
		if schemaName(path) == name {
			return schemas.ReadFile(path)
		}
	}
	return nil, fmt.Errorf("%w: there is no schema %q, there are %s", oci.ErrRequestInvalid, name, strings.Join(SchemaNames(), ", "))
}

// SchemaNames lists what Schema knows.
func SchemaNames() []string {
	var names []string
	for _, path := range schemaFiles() {
		names = append(names, schemaName(path))
	}
	slices.Sort(names)
	return names
}

func schemaFiles() []string {
	paths, err := fs.Glob(schemas, "schemas/*.json")
	if err != nil {
		return nil // the pattern is right
	}
	return paths
}

// schemaName is policy for schemas/policy.v1alpha1.json.
func schemaName(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "schemas/"), ".")
	return name
}
