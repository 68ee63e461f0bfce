package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildVersion is what a build is called; builds without version control are "devel".
type buildVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a tree with changes that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func versionCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which build this is",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return out.print(cmd, currentVersion(), func(p *printer) { p.version(currentVersion()) })
		},
	}
	out.flag(cmd)
	return cmd
}

func currentVersion() buildVersion {
	v := buildVersion{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Revision = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

func (p *printer) version(v buildVersion) {
	line := fmt.Sprintf("sluice %s %s %s", v.Version, v.Go, v.Platform)
	if v.Revision != "" {
		line += " " + v.Revision
	}
	p.line("%s", line)
}
