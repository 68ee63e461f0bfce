package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/versity/versitygw/backend/posix"
)

// recoverUploads gives uploads back the names they had before the server was killed while
// it completed them. The storage marks an upload by a name that ends in .inprogress, and
// never looks at one again that a crash has left so: the parts would be lost, though they
// were acknowledged.
func recoverUploads(root string) error {
	marked, err := filepath.Glob(filepath.Join(escape(root), "*", posix.MetaTmpMultipartDir, "*", "*.inprogress"))
	if err != nil {
		return fmt.Errorf("look for interrupted uploads: %w", err)
	}
	for _, path := range marked {
		id, _, _ := strings.Cut(filepath.Base(path), ".")
		err := os.Rename(path, filepath.Join(filepath.Dir(path), id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("recover interrupted upload: %w", err)
		}
	}
	return nil
}

// escape takes the meaning from what Glob would take for a pattern.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
