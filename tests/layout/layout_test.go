// Package layout_test holds the shape of the tree: which package may import which, what
// stands at the top, what every file owes its reader, and that the files for deployment
// agree with each other.
//
// It reads the sources itself rather than ask go list: go test caches by the files that a
// test opens, so a changed import is seen, and files for other systems are judged too.
package layout_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "sluice.dev/sluice"
)

// source is one Go file of the module.
type source struct {
	path string // from the root, with slashes
	dir  string
	test bool
	file *ast.File
	fset *token.FileSet
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "testdata" || isModule(path)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		dir := filepath.ToSlash(filepath.Dir(rel))
		all = append(all, source{rel, dir, strings.HasSuffix(name, "_test.go"), file, fset})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("found only %d Go files: is %s the root?", len(all), root)
	}
	return all
}

// isModule tells a folder with a go.mod of its own, which is another module's.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (s source) imports() []string {
	var paths []string
	for _, spec := range s.file.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, path)
		}
	}
	return paths
}

// within tells whether path is tree or below it.
func within(path, tree string) bool {
	return path == tree || strings.HasPrefix(path, tree+"/")
}

func withinAny(path string, trees []string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool { return within(path, tree) })
}

// TestTop pins what stands at the root. Names that start with a dot are tools' own; what
// .gitignore names with a leading slash is made there and not kept.
func TestTop(t *testing.T) {
	allowed := []string{
		"cmd", "server", "tiers", "promote", "oci", "web", "deploy", "tests",
		"go.mod", "go.sum", "docker-compose.yml", "README.md", "Makefile", "LICENSE", "staticcheck.conf",
	}
	ignored, err := os.ReadFile(filepath.Join(root, ".gitignore"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(ignored)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			allowed = append(allowed, strings.TrimSuffix(name, "/"))
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if name := entry.Name(); !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s stands at the root, where it has no place", name)
		}
	}
}
