package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sluice.dev/sluice/promote/attest"
)

//go:embed samples
var samples embed.FS

// sampleFile is a file of the first start: where it comes from and where it goes in the
// data directory.
type sampleFile struct{ from, to string }

func sampleFiles() []sampleFile {
	return []sampleFile{
		{"samples/dev-to-stable.yaml", "policies/stable.yaml"},
		{"samples/stable-to-release.yaml", "policies/release.yaml"},
		// The configuration comes last: where it stands, all that it names does too.
		{"samples/sluice.yaml", configName},
	}
}

const configName = "sluice.yaml"

// writeSamples fills a new data directory, so that a newcomer can attest and promote at
// once. What is there already stays as it is. It returns what it wrote.
func writeSamples(dir string) (written []string, err error) {
	made, err := writeSampleKey(dir)
	if err != nil {
		return nil, err
	}
	written = append(written, made...)
	for _, f := range sampleFiles() {
		content, err := samples.ReadFile(f.from)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, f.to)
		switch err := writeNew(path, content, 0o644); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return nil, fmt.Errorf("first start: %w", err)
		default:
			written = append(written, path)
		}
	}
	return written, nil
}

// writeSampleKey makes the key pair that the sample policies trust, in cosign's format and
// without a password. A public key alone is left as it is: somebody keeps the private one
// elsewhere.
func writeSampleKey(dir string) ([]string, error) {
	private, public := filepath.Join(dir, "keys", "ci.key"), filepath.Join(dir, "keys", "ci.pub")
	for _, path := range []string{private, public} {
		if _, err := os.Stat(path); err == nil {
			return nil, nil
		}
	}
	key, pub, err := attest.GenerateKey(nil)
	if err != nil {
		return nil, fmt.Errorf("first start: %w", err)
	}
	if err := writeNew(private, key, 0o600); err != nil {
		return nil, fmt.Errorf("first start: %w", err)
	}
	if err := writeNew(public, pub, 0o644); err != nil {
		return nil, fmt.Errorf("first start: %w", err)
	}
	return []string{private, public}, nil
}
