package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sluice.dev/sluice/promote/attest"
)

// policy asks for two attestations of one authority.
const policy = `apiVersion: sluice.dev/v1alpha1
kind: TierPolicy
metadata: {name: dev-to-%[1]s}
spec:
  from: dev
  to: %[1]s
  repositories: ["**"]
  authorities:
    - {name: ci, key: {file: ci.pub}}
  require:
    - {name: provenance, predicateTypes: ["https://slsa.dev/provenance/v1"], from: {authorities: [ci]}}
    - {name: sbom, predicateTypes: ["https://spdx.dev/Document"], from: {authorities: [ci]}}
`

// predicates are what the policy asks for, by the short name of the type.
func predicates() map[string]string {
	return map[string]string{
		"slsaprovenance1": `{"buildDefinition":{"buildType":"https://example.com/build/v1"},"runDetails":{"builder":{"id":"https://example.com/ci"}}}`,
		"spdxjson":        `{"spdxVersion":"SPDX-2.3","SPDXID":"SPDXRef-DOCUMENT","name":"app","dataLicense":"CC0-1.0","packages":[{"name":"app","SPDXID":"SPDXRef-app"}]}`,
	}
}

// writeFiles writes what sluice is configured with: stable shares the bucket of dev,
// release has its own, and both are filled from dev.
func (s *servers) writeFiles() error {
	private, public, err := attest.GenerateKey(nil)
	if err != nil {
		return err
	}
	bucket := func(name string) string {
		return fmt.Sprintf("{endpoint: %q, bucket: %s, region: %s, accessKeyFile: access, secretKeyFile: secret}", s.endpoint, name, region)
	}
	config := func(dev string) string {
		return fmt.Sprintf(`etcd: {endpoints: [%s]}
data: data
url: http://bench.example
tiers:
  - {name: dev, push: true%s, s3: %s}
  - {name: stable, from: dev, policy: stable.yaml, s3: %s}
  - {name: release, from: dev, policy: release.yaml, s3: %s}
`, strings.Join(s.etcd, ", "), dev, bucket(bucketDev), bucket(bucketDev), bucket(bucketRelease))
	}
	files := map[string]string{
		"access": s.access, "secret": s.secret, "ci.key": string(private), "ci.pub": string(public),
		"sluice.yaml": config(""), "redirect.yaml": config(", redirect: true"),
		"stable.yaml": fmt.Sprintf(policy, "stable"), "release.yaml": fmt.Sprintf(policy, "release"),
	}
	for name, predicate := range predicates() {
		files[name+".json"] = predicate
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}
