package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"sluice.dev/sluice/oci"
)

// dirSource is a plain copy of the bucket, or of the part of it that is the ledger.
type dirSource struct{ root fs.FS }

// Dir reads a log from a plain copy of its bucket, or of the folder ledger/ in it, with a
// file for each object.
func Dir(root fs.FS) (Source, error) {
	for _, folder := range []string{"ledger", "."} {
		info, err := fs.Stat(root, path.Join(folder, "checkpoints"))
		if err != nil || !info.IsDir() {
			continue
		}
		sub, err := fs.Sub(root, folder)
		return dirSource{sub}, err
	}
	return nil, errors.New("no ledger here: want a copy of the bucket that holds the ledger, with its folder ledger/checkpoints, or of the folder ledger")
}

// Read reads a file whole.
func (d dirSource) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	f, err := d.root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", oci.ErrObjectUnknown, name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", oci.ErrCorrupt, name, limit)
	}
	return data, nil
}

// Checkpoints lists all files that lie where checkpoints do.
func (d dirSource) Checkpoints(ctx context.Context) (paths []string, err error) {
	err = fs.WalkDir(d.root, strings.TrimSuffix(pathCheckpoints, "/"), func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			paths = append(paths, name)
		}
		return errors.Join(err, ctx.Err())
	})
	return paths, err
}

var _ Lister = dirSource{}
