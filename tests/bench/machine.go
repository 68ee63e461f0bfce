package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"sluice.dev/sluice/tests/stores"
)

// machine is where the figures come from, without which they say nothing.
type machine struct {
	Cores  int      `json:"cores"`
	CPU    string   `json:"cpu"`
	Memory string   `json:"memory"`
	Kernel string   `json:"kernel"`
	Go     string   `json:"go"`
	Date   string   `json:"date"`
	Peers  []string `json:"versions"` // of what stands behind and beside
	Commit string   `json:"commit"`
}

func describe(ctx context.Context) (machine, error) {
	m := machine{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal"),
		Go: runtime.Version(), Date: time.Now().UTC().Format(time.DateOnly), Commit: "unknown"}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	root, err := stores.ModuleRoot()
	if err != nil {
		return m, err
	}
	if out, err := exec.CommandContext(ctx, "git", "-C", root, "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out)) // a copy without its history is measured too
	}
	for _, tool := range []struct{ name, file, module string }{
		{"etcd", "server", "go.etcd.io/etcd/server/v3"},
		{"versitygw", "versitygw", "github.com/versity/versitygw"},
		{"distribution", "registry", "github.com/distribution/distribution/v3"},
	} {
		version, err := toolVersion(filepath.Join(root, "tests", "tools", "bin", tool.file), tool.module)
		if err != nil {
			continue // the servers that are asked for say themselves what is missing
		}
		m.Peers = append(m.Peers, tool.name+" "+version)
	}
	return m, nil
}

// toolVersion reads which version of a module a binary was built from.
func toolVersion(path, module string) (string, error) {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "", err
	}
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path == module {
			return m.Version, nil
		}
	}
	return "", fmt.Errorf("%s holds no %s", path, module)
}

// field is the value of the first line with a name, in a file of /proc; empty for none.
func field(path, name string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// render writes the heading of the table.
func (m machine) render(w io.Writer, rounds int) {
	fmt.Fprintf(w, "%s: %d cores (%s), %s of memory, Linux %s, %s; sluice %s, %s. Medians of %d rounds.\n\n",
		m.Date, m.Cores, m.CPU, m.Memory, m.Kernel, m.Go, m.Commit, strings.Join(m.Peers, ", "), rounds)
}
