package layout_test

import (
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The most lines of a file and of a function. What grows past them has two subjects.
const (
	longFile     = 500
	longFunction = 100
)

// TestDocumented asks a comment of every package and of every exported name outside tests.
func TestDocumented(t *testing.T) {
	packages := map[string]bool{}
	for _, s := range sources(t) {
		// A folder of tests alone documents itself in a test file.
		packages[s.dir] = packages[s.dir] || s.file.Doc != nil && s.file.Doc.Text() != ""
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, decl := range s.file.Decls {
			for _, name := range undocumented(decl) {
				t.Errorf("%s: exported %s has no comment", s.fset.Position(decl.Pos()), name)
			}
		}
	}
	for dir, documented := range packages {
		if !documented {
			t.Errorf("package %s has no comment that says what it is for", dir)
		}
	}
}

// undocumented names the exported identifiers of a declaration that lack a comment. In a
// group the group's comment serves constants and variables, but not types.
func undocumented(decl ast.Decl) []string {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || receiverExported(d.Recv)) {
			return []string{d.Name.Name}
		}
	case *ast.GenDecl:
		var names []string
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) {
					names = append(names, s.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Doc != nil || s.Doc != nil || s.Comment != nil {
					continue
				}
				for _, name := range s.Names {
					if name.IsExported() {
						names = append(names, name.Name)
					}
				}
			}
		}
		return names
	}
	return nil
}

func receiverExported(recv *ast.FieldList) bool {
	typ := recv.List[0].Type
	for {
		switch t := typ.(type) {
		case *ast.StarExpr:
			typ = t.X
		case *ast.IndexExpr:
			typ = t.X
		case *ast.IndexListExpr:
			typ = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return true
		}
	}
}

// TestHabits finds what the house does without: marks of unfinished or excused work, init
// functions, panics, vague package names, and files and functions that are too long.
func TestHabits(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "base"}
	// The words are put together here so that this file does not find itself.
	marks := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X)\b|^//no` + `lint`)

	for _, s := range sources(t) {
		if name := strings.TrimSuffix(s.file.Name.Name, "_test"); slices.Contains(vague, name) || slices.Contains(vague, path.Base(s.dir)) {
			t.Errorf("%s: the package name says nothing", s.path)
		}
		if lines := s.fset.File(s.file.Pos()).LineCount(); lines > longFile {
			t.Errorf("%s has %d lines, more than %d", s.path, lines, longFile)
		}
		for _, group := range s.file.Comments {
			for _, comment := range group.List {
				if marks.MatchString(comment.Text) {
					t.Errorf("%s: %s", s.fset.Position(comment.Pos()), comment.Text)
				}
			}
		}
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok {
				checkFunction(t, s, fn)
			}
		}
	}
}

func checkFunction(t *testing.T, s source, fn *ast.FuncDecl) {
	t.Helper()
	at := func(pos token.Pos) string { return s.fset.Position(pos).String() }
	if lines := s.fset.Position(fn.End()).Line - s.fset.Position(fn.Pos()).Line + 1; lines > longFunction && !s.test {
		t.Errorf("%s: %s has %d lines, more than %d", at(fn.Pos()), fn.Name.Name, lines, longFunction)
	}
	if fn.Name.Name == "init" && fn.Recv == nil {
		t.Errorf("%s: an init function", at(fn.Pos()))
	}
	ast.Inspect(fn, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		if callee, ok := call.Fun.(*ast.Ident); ok && callee.Name == "panic" && !s.test && !aborts(call) {
			t.Errorf("%s: panics", at(call.Pos()))
		}
		if isSkip(call) {
			t.Errorf("%s: skips; a test that does without what it needs proves nothing", at(call.Pos()))
		}
		return true
	})
}

// TestDefaultMux finds what would serve http.DefaultServeMux, to which the import of
// net/http/pprof alone adds the profiles: whoever serves says what.
func TestDefaultMux(t *testing.T) {
	served := 0
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.SelectorExpr:
				if isHTTP(n, "DefaultServeMux", "Handle", "HandleFunc", "ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS") {
					t.Errorf("%s: http.%s", s.fset.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.CompositeLit:
				if typ, ok := n.Type.(*ast.SelectorExpr); ok && isHTTP(typ, "Server") {
					served++
					if !hasKey(n, "Handler") {
						t.Errorf("%s: an http.Server without a Handler", s.fset.Position(n.Pos()))
					}
				}
			}
			return true
		})
	}
	if served < 2 {
		t.Errorf("only %d servers found", served)
	}
}

// isHTTP tells one of the names in net/http.
func isHTTP(s *ast.SelectorExpr, names ...string) bool {
	pkg, ok := s.X.(*ast.Ident)
	return ok && pkg.Name == "http" && slices.Contains(names, s.Sel.Name)
}

// hasKey says whether a literal of a struct sets a field.
func hasKey(literal *ast.CompositeLit, name string) bool {
	return slices.ContainsFunc(literal.Elts, func(e ast.Expr) bool {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return false
		}
		key, ok := pair.Key.(*ast.Ident)
		return ok && key.Name == name
	})
}

// aborts tells panic(http.ErrAbortHandler), with which net/http has a handler break off an
// answer.
func aborts(call *ast.CallExpr) bool {
	arg, ok := call.Args[0].(*ast.SelectorExpr)
	return ok && arg.Sel.Name == "ErrAbortHandler"
}

// isSkip tells t.Skip and its like from a method of that name of something else.
func isSkip(call *ast.CallExpr) bool {
	callee, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, callee.Sel.Name) {
		return false
	}
	receiver, ok := callee.X.(*ast.Ident)
	return ok && slices.Contains([]string{"t", "tb", "b", "f"}, receiver.Name)
}
