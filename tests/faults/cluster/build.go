package cluster

import (
	"fmt"
	"os/exec"
	"path/filepath"

	"sluice.dev/sluice/tests/stores"
)

// Build builds the registry with its failpoints into dir, with the race detector if asked,
// and returns the path of the binary.
func Build(dir string, race bool) (string, error) {
	root, err := stores.ModuleRoot()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "sluice")
	args := []string{"build", "-tags", "faults", "-o", path}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/sluice")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return path, nil
}
