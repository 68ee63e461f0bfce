package layout_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// layers, lowest first: a package imports its own layer and those below it.
func layers() []string {
	return []string{"oci", "tiers", "promote", "web", "server", "cmd", "tests"}
}

// adapters reach the outside. Only cmd wires them, and they never import each other; but
// tests run them against the servers of tiers/embedded, and those servers by them.
func adapters() []string {
	return []string{"tiers/s3", "tiers/etcd", "tiers/embedded"}
}

// A reserved library is imported in the listed folders only.
type reserved struct {
	library string
	in      []string
}

func libraries() []reserved {
	return []reserved{
		{"github.com/minio/minio-go", []string{"tiers/s3"}},
		{"go.etcd.io/etcd/client/v3", []string{"tiers/etcd"}},
		{"go.etcd.io/etcd/server/v3", []string{"tiers/embedded"}},
		{"go.etcd.io", []string{"tiers/etcd", "tiers/embedded"}},
		{"google.golang.org/grpc", []string{"tiers/etcd"}}, // what its client leaves to those who use it
		{"github.com/versity/versitygw", []string{"tiers/embedded"}},
		{"github.com/aws", []string{"tiers/embedded"}}, // the types of the S3 server that it wraps
		{"github.com/labstack/echo", []string{"server"}},
		{"golang.org/x/mod", []string{"tiers/ledger"}}, // the Merkle trees and the signed notes of its logs
		{"oras.land/oras-go", []string{"promote", "cmd"}},
		{"github.com/in-toto/in-toto-golang", []string{"promote/policy"}}, // layouts: given trees, never bytes
		{"github.com/spf13/cobra", []string{"cmd"}},
		{"github.com/github/go-spdx/v2/spdxexp/spdxlicenses", []string{"promote/policy"}}, // what SPDX lists
		{"github.com/package-url/packageurl-go", []string{"promote"}},
		{"github.com/notaryproject", []string{"promote/attest"}},
		{"github.com/veraison/go-cose", []string{"promote/attest"}},
		{"github.com/go-ldap/ldap", []string{"promote/attest"}}, // for distinguished names
		{"github.com/sigstore", []string{"promote/attest"}},
		{"github.com/anishathalye/porcupine", []string{"tests/faults"}}, // no part of the product
	}
}

// nowhere lists what is not imported even by tests: cosign is run, never linked, so that
// what is verified here and what cosign says are two opinions.
func nowhere() []string {
	return []string{"github.com/sigstore/cosign"}
}

// pureForbids is what oci must do without: it is vocabulary, and does no I/O.
func pureForbids() []string {
	return []string{"os", "net", "net/http", "io/fs", "path/filepath", "database/sql", "log/slog", "syscall"}
}

// TestImports holds the arrows oci ← tiers ← promote ← web ← server ← cmd and who may
// use which library.
func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			if why := refuses(s.dir, path, s.test); why != "" {
				t.Errorf("%s imports %s: %s", s.path, path, why)
			}
			if path == module+"/tiers/failpoint" && !s.test && !within(s.dir, "tests") && !s.tagged("faults") {
				t.Errorf("%s imports %s: only a file with the build tag faults does, so that no release has failpoints", s.path, path)
			}
		}
	}
}

// tagged says whether a file is left out of a build without the tag.
func (s source) tagged(tag string) bool {
	for _, group := range s.file.Comments {
		for _, comment := range group.List {
			if comment.Pos() < s.file.Package && comment.Text == "//go:build "+tag {
				return true
			}
		}
	}
	return false
}

// refuses says why a file in dir must not import path, or "".
func refuses(dir, path string, test bool) string {
	if withinAny(path, nowhere()) {
		return "imported nowhere"
	}
	if own, ok := strings.CutPrefix(path, module+"/"); ok {
		return refusesOwn(dir, own, test)
	}
	if within(dir, "oci") && !test && slices.Contains(pureForbids(), path) {
		return "oci does no I/O"
	}
	if test || within(dir, "tests") {
		return ""
	}
	for _, lib := range libraries() {
		if within(path, lib.library) && !withinAny(dir, lib.in) {
			return fmt.Sprintf("%s is imported in %v only", lib.library, lib.in)
		}
	}
	return ""
}

// refusesOwn judges an import of this module. A test may go further in one way: it may
// use the real servers of tiers/embedded and what tests/ offers to all.
func refusesOwn(dir, own string, test bool) string {
	if test && (within(own, "tests") || within(own, "tiers/embedded") || within(own, "tiers/tierstest")) {
		return ""
	}
	from, to := layer(dir), layer(own)
	switch {
	case from < 0:
		return dir + " is in no layer"
	case to < 0:
		return own + " is in no layer"
	case to > from:
		return fmt.Sprintf("arrows go down: %s does not know %s", layers()[from], layers()[to])
	case own == "tiers/tierstest" && !within(dir, "tests"):
		return "the suite is for tests"
	case own == "tiers/failpoint" && !test && !within(dir, "tests") && !within(dir, "cmd"):
		return "only cmd puts failpoints before the stores"
	case within(dir, "web") && !within(own, "web") && !slices.Contains([]string{"oci", "tiers", "promote", "promote/policy", "promote/attest"}, own):
		return "web sees the types of oci, tiers and promote only"
	}
	if !withinAny(own, adapters()) || within(dir, own) {
		return ""
	}
	switch {
	case test && dir == "tiers/embedded":
		return ""
	case withinAny(dir, adapters()):
		return "adapters never import each other"
	case within(dir, "cmd") || within(dir, "tests") || test:
		return ""
	}
	return "only cmd wires adapters"
}

func layer(dir string) int {
	return slices.IndexFunc(layers(), func(tree string) bool { return within(dir, tree) })
}

// TestRefuses proves that the rules bite.
func TestRefuses(t *testing.T) {
	tests := []struct {
		dir, path string
		test      bool
		refused   bool
	}{
		{"tiers", module + "/oci", false, false},
		{"oci", module + "/tiers", false, true},
		{"oci", "os", false, true},
		{"oci", "os", true, false},
		{"promote", module + "/tiers", false, false},
		{"promote", module + "/tiers/s3", false, true},
		{"promote", module + "/tiers/embedded", true, false},
		{"promote", module + "/server", false, true},
		{"server", module + "/promote/policy", false, false},
		{"server", module + "/tiers/etcd", false, true},
		{"server", module + "/cmd/sluice", false, true},
		{"cmd/sluice", module + "/tiers/etcd", false, false},
		{"cmd/sluice", module + "/tests/clients", false, true},
		{"cmd/sluice", module + "/tests/clients", true, false},
		{"tiers/s3", module + "/tiers/etcd", false, true},
		{"tiers/s3", module + "/tiers/etcd", true, true},
		{"tiers/s3", module + "/tiers/tierstest", false, true},
		{"tiers", module + "/tiers/failpoint", false, true},
		{"server", module + "/tiers/failpoint", false, true},
		{"cmd/sluice", module + "/tiers/failpoint", false, false},
		{"tests/faults", module + "/tiers/failpoint", false, false},
		{"tiers/s3", module + "/tiers/tierstest", true, false},
		{"tiers/s3", module + "/tiers/embedded", true, false},
		{"tiers/embedded", module + "/tiers/s3", true, false},
		{"tiers/embedded", module + "/tiers/s3", false, true},
		{"tiers/s3", module + "/tiers", false, false},
		{"web", module + "/promote/policy", false, false},
		{"web", module + "/tiers/ledger", false, true},
		{"web", module + "/server", false, true},
		{"helpers", module + "/oci", false, true},
		{"tiers/s3", "github.com/minio/minio-go/v7", false, false},
		{"server", "github.com/minio/minio-go/v7", false, true},
		{"tiers/etcd", "go.etcd.io/etcd/client/v3/concurrency", false, false},
		{"tiers/embedded", "go.etcd.io/etcd/client/v3", false, true},
		{"tiers/etcd", "go.etcd.io/etcd/server/v3/embed", false, true},
		{"tiers/etcd", "go.etcd.io/etcd/api/v3/mvccpb", false, false},
		{"promote", "github.com/labstack/echo/v4", false, true},
		{"server", "oras.land/oras-go/v2", false, true},
		{"tests/e2e", "oras.land/oras-go/v2", false, false},
		{"tests/e2e", "github.com/sigstore/cosign/v3/pkg/cosign", true, true},
		{"tiers/s3", "github.com/minio/minio-golang", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.dir+" imports "+tt.path, func(t *testing.T) {
			if why := refuses(tt.dir, tt.path, tt.test); (why != "") != tt.refused {
				t.Errorf("test file %v: refused %q, want refused %v", tt.test, why, tt.refused)
			}
		})
	}
}
