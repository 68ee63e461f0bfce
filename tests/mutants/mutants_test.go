package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every mutant can be made and compiles, so that the list does not fall behind the code.
// Whether a test notices them takes minutes, and is asked with make mutants.
func TestMutants(t *testing.T) {
	t.Chdir("../..") // their files are named from the root of the module
	set := token.NewFileSet()
	from := importer.ForCompiler(set, "gc", exported(t))
	packages := map[string]map[string]*ast.File{}
	for _, m := range mutants() {
		broken, err := m.broken()
		if err != nil {
			t.Error(err)
			continue
		}
		dir := filepath.Dir(m.file)
		if packages[dir] == nil {
			packages[dir] = sources(t, set, dir)
		}
		file, err := parser.ParseFile(set, m.file, broken, 0)
		if err != nil {
			t.Errorf("%s: %v", m.breaks, err)
			continue
		}
		files := []*ast.File{file}
		for name, other := range packages[dir] {
			if name != m.file {
				files = append(files, other)
			}
		}
		config := types.Config{Importer: from}
		if _, err := config.Check(dir, set, files, nil); err != nil {
			t.Errorf("%s: %v", m.breaks, err)
		}
	}
}

// exported opens what the compiler knows of the packages that the broken ones import.
func exported(t *testing.T) func(path string) (io.ReadCloser, error) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export", "./promote/...", "./tiers/...", "./server/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var listed struct{ ImportPath, Export string }
		if err := dec.Decode(&listed); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		files[listed.ImportPath] = listed.Export
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(files[path]) }
}

// sources parses the files of a package, without its tests.
func sources(t *testing.T, set *token.FileSet, dir string) map[string]*ast.File {
	names, err := filepath.Glob(dir + "/*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]*ast.File{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		if files[name], err = parser.ParseFile(set, name, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
