// Package openapi is the OpenAPI 3.1 document that describes the API of the server. It
// stands by itself so that tests can hold answers against it without the server.
package openapi

import (
	_ "embed"
	"fmt"

	"github.com/go-json-experiment/json"
	"go.yaml.in/yaml/v3"
)

//go:embed openapi.yaml
var document string

// YAML is the document as it is written.
func YAML() []byte { return []byte(document) }

// JSON is the same document in JSON, with YAML's anchors resolved.
func JSON() ([]byte, error) {
	var parsed map[string]any
	if err := yaml.Unmarshal([]byte(document), &parsed); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	rendered, err := json.Marshal(parsed, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	return rendered, nil
}
