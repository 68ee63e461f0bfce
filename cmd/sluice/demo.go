package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"sluice.dev/sluice/oci"
)

// What the demo's artifact is called.
const (
	demoRepository = "acme/app"
	demoTag        = "1.0"
)

func demoCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Watch an artifact earn its way from dev to stable to release",
		Long: `Start a registry in a scratch directory and do the whole job on a sample, each step with
the command that does the same by hand. Nothing is left behind, unless --keep is given:
then the registry goes on until it is interrupted.`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), newPrinter(cmd.OutOrStdout()), keep)
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the registry running, and say what to try next")
	return cmd
}

// demo is the state of a demonstration.
type demo struct {
	*printer
	dir    string // scratch
	log    *os.File
	server *instance
	client *client
	image  digest.Digest
	step   int
	began  time.Time
}

// runDemo tells the story. What it started ends with it, whatever happens.
func runDemo(ctx context.Context, p *printer, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "sluice-demo-")
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	d := &demo{printer: p, dir: dir, began: time.Now()}
	defer func() {
		if closeErr := d.close(keep && err == nil); err == nil {
			err = closeErr
		}
	}()
	p.line("%s", p.style(bold, "Sluice: an artifact earns its way from dev to stable to release"))
	p.line("%s", p.style(dim, "Everything happens in "+dir))
	for _, step := range d.story() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("demo: interrupted: %w", err)
		}
		d.step++
		p.line("")
		p.line("%s", p.style(bold, fmt.Sprintf("%d. %s", d.step, step.title)))
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("demo, step %d (%s): %w", d.step, step.title, err)
		}
	}
	p.line("")
	p.line("%s in %s. Every check above was real.", p.style(bold, "Done"), time.Since(d.began).Round(100*time.Millisecond))
	if keep {
		d.next()
		err = d.server.wait(ctx)
	}
	if err == nil {
		err = p.failed()
	}
	return err
}

// demoStep is a step of the story.
type demoStep struct {
	title string
	run   func(context.Context) error
}

func (d *demo) story() []demoStep {
	return []demoStep{
		{"Start a registry: etcd and an S3 server inside one process, three tiers", d.startServer},
		{"Push an image for two platforms to dev", d.push},
		{"Ask that it rise to stable, with nothing to show for it", d.refused},
		{"Try the back door: push straight to release", d.backDoor},
		{"CI signs what it knows: provenance, SBOM, test result", d.attestAll},
		{"Ask again: from dev to stable", func(ctx context.Context) error { return d.rise(ctx, "dev", "stable") }},
		{"And from stable to release, under a policy of its own", func(ctx context.Context) error { return d.rise(ctx, "stable", "release") }},
		{"Pull it from release by digest and compare every byte", d.pull},
		{"Check, as a consumer, the summary that the registry signed", d.check},
	}
}

func (d *demo) startServer(ctx context.Context) error {
	data := filepath.Join(d.dir, "data")
	d.command("sluice serve --data %s --listen 127.0.0.1:0", data)
	began := time.Now()
	if _, err := writeSamples(data); err != nil {
		return err
	}
	cfg, err := loadConfig(configSource{file: filepath.Join(data, configName), home: data, listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	if d.log, err = os.Create(filepath.Join(d.dir, "server.log")); err != nil {
		return err
	}
	if d.server, err = start(ctx, newInstance(cfg, slog.New(slog.NewTextHandler(d.log, nil)))); err != nil {
		return err
	}
	d.client = dial(d.host(), true, false, credentials.NewMemoryStore())
	d.good("ready on %s in %s", d.server.url, time.Since(began).Round(10*time.Millisecond))
	d.note("policies and a sample key for CI were written, as on any first start")
	return nil
}

func (d *demo) host() string { return strings.TrimPrefix(d.server.url, "http://") }

// ref names the sample in a tier, by tag.
func (d *demo) ref(tier string) oci.Reference {
	return oci.Reference{Host: d.host(), Tier: tier, Repository: demoRepository, Tag: demoTag}
}

// pinned names the sample in a tier, by digest.
func (d *demo) pinned(tier string) oci.Reference {
	return oci.Reference{Host: d.host(), Tier: tier, Repository: demoRepository, Digest: d.image}
}

func (d *demo) command(format string, args ...any) {
	d.line("   %s", d.style(blue, "$ "+fmt.Sprintf(format, args...)))
}

func (d *demo) good(format string, args ...any) {
	d.line("   %s %s", d.style(green, "✓"), fmt.Sprintf(format, args...))
}

func (d *demo) note(format string, args ...any) {
	d.line("   %s", d.style(dim, fmt.Sprintf(format, args...)))
}

// next says what to try while the registry goes on.
func (d *demo) next() {
	url, host, data := d.server.url, d.host(), filepath.Join(d.dir, "data")
	d.line("")
	d.line("%s", d.style(bold, "The registry goes on. Try:"))
	for _, item := range []struct{ what, command string }{
		{"look at the tiers in a browser", url + "/"},
		{"see what is where", "sluice status " + host + "/" + demoRepository},
		{"see what is attached", "oras discover --plain-http " + d.ref("release").String()},
		{"check a signature with cosign", "cosign verify-attestation --key " + filepath.Join(d.dir, "release.pub") + " --insecure-ignore-tlog=true --allow-http-registry --type " + typeSummary + " " + d.pinned("release").String()},
		{"push something of yours", "oras push --plain-http " + host + "/dev/you/thing:1 FILE"},
		{"attest it with the sample key", "sluice attest " + host + "/dev/you/thing:1 --type spdxjson --predicate " + filepath.Join(d.dir, "sbom.spdx.json") + " --key " + filepath.Join(data, "keys", "ci.key")},
		{"and ask", "sluice promote " + host + "/dev/you/thing:1 --to stable"},
	} {
		d.line("  %s", d.style(dim, item.what))
		d.line("    %s", d.style(blue, item.command))
	}
	d.line("")
	d.line("Ctrl-C stops it. The data stays in %s; start on it again with:", d.dir)
	d.line("    %s", d.style(blue, "sluice serve --data "+data+" --listen "+host))
}

// close stops the server and removes the scratch directory, unless it is to stay.
func (d *demo) close(keep bool) error {
	var err error
	if d.server != nil {
		err = d.server.close()
	}
	if d.log != nil {
		if closeErr := d.log.Close(); err == nil {
			err = closeErr
		}
	}
	if keep {
		return err
	}
	if removeErr := os.RemoveAll(d.dir); err == nil {
		err = removeErr
	}
	return err
}
